#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "millrace/settings/v1/process.pb.h"

/// What every main shares: arguments, log, failpoints, signals.
namespace millrace::service {

/// Arguments of a service's main: `--config FILE` and `--set key.path=value`, any number of times.
struct Arguments {
  std::string config_path;
  std::vector<std::pair<std::string, std::string>> overrides;
  bool help = false;
  bool version = false;
};

/// kInvalidArgument names the argument that is not understood.
StatusOr<Arguments> ParseArguments(int argc, char** argv);

/// Text of `--help`.
std::string HelpText(std::string_view program, std::string_view purpose);

/// The process's environment as "NAME=value".
std::vector<std::string> Environment();

/// Blocks SIGTERM and SIGINT for this thread and all it starts; ignores SIGPIPE, and SIGXFSZ, so
/// that a file-size limit reads as a full disk. First thing in main.
void BlockSignals();

/// Raises the limit of open files to the hard limit; what it is then.
int RaiseDescriptorLimit();

/// The first descriptor that connections of clients may not take: what is above is kept for the
/// log, the stores and connections to tools. A quarter of the limit, at least 64, at most 4,096.
int FirstReservedDescriptor();

/// Waits for SIGTERM or SIGINT and returns its name.
std::string_view WaitForSignal();

/// Sets up the log, the limit of open files, and failpoints from MILLRACE_FAILPOINT.
Status SetUpProcess(std::string_view program, const settings::v1::TelemetrySettings& telemetry);

/// The setting `instance`, or the machine's name.
std::string InstanceName(const settings::v1::ProcessSettings& settings);

/// The address of `listen` ("host:port" or ":port") taken apart. kInvalidArgument says how to write
/// it.
struct ListenAddress {
  std::string host;
  uint16_t port = 0;
};
StatusOr<ListenAddress> ParseListenAddress(std::string_view listen);

/// The body of a main: runs, prints a failure as one line "program: reason" and gives the exit
/// code.
int Exit(std::string_view program, const Status& status);

}  // namespace millrace::service
