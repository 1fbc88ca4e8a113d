#include "libs/service/run.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <iostream>

#include "libs/base/failpoint.h"
#include "libs/base/log.h"

namespace millrace::service {
namespace {

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

StatusOr<Arguments> ParseArguments(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      arguments.help = true;
    } else if (argument == "--version") {
      arguments.version = true;
    } else if ((argument == "--config" || argument == "--set") && i + 1 < argc) {
      const std::string_view value = argv[++i];
      if (argument == "--config") {
        arguments.config_path = value;
        continue;
      }
      const size_t equals = value.find('=');
      if (equals == std::string_view::npos) {
        return Error(StatusCode::kInvalidArgument, "--set takes key.path=value, not '{}'", value);
      }
      arguments.overrides.emplace_back(value.substr(0, equals), value.substr(equals + 1));
    } else {
      return Error(StatusCode::kInvalidArgument, "argument '{}' is not understood; see --help",
                   argument);
    }
  }
  return arguments;
}

std::string HelpText(std::string_view program, std::string_view purpose) {
  return fmt::format(
      "{0}: {1}\n\n"
      "usage: {0} [--config FILE] [--set key.path=value]... [--version]\n\n"
      "  --config FILE         settings as YAML; an unknown key is an error\n"
      "  --set key.path=value  one setting, over the file and the environment\n\n"
      "Settings are also read from the environment, e.g. MILLRACE__EVENT_LOG__BACKEND=kafka.\n",
      program, purpose);
}

std::vector<std::string> Environment() {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) all.emplace_back(*entry);
  return all;
}

void BlockSignals() {
  const sigset_t set = StopSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

std::string_view WaitForSignal() {
  const sigset_t set = StopSignals();
  int received = 0;
  while (sigwait(&set, &received) != 0) {
  }
  return received == SIGINT ? "SIGINT" : "SIGTERM";
}

Status SetUpProcess(std::string_view program, const settings::v1::TelemetrySettings& telemetry) {
  log::Options options{.service = program};
  if (!telemetry.log_level().empty() && !log::ParseLevel(telemetry.log_level(), &options.level)) {
    return Error(StatusCode::kInvalidArgument,
                 "telemetry.log_level is '{}'; use debug, info, warning or error",
                 telemetry.log_level());
  }
  if (telemetry.log_format().empty()) {
    options.json = isatty(STDERR_FILENO) == 0;
  } else if (telemetry.log_format() == "json" || telemetry.log_format() == "text") {
    options.json = telemetry.log_format() == "json";
  } else {
    return Error(StatusCode::kInvalidArgument, "telemetry.log_format is '{}'; use text or json",
                 telemetry.log_format());
  }
  log::Init(options);
  if (const char* failpoints = std::getenv("MILLRACE_FAILPOINT"); failpoints != nullptr) {
    MR_RETURN_IF_ERROR(Annotate(ArmFailpoints(failpoints), "MILLRACE_FAILPOINT"));
  }
  return OkStatus();
}

StatusOr<ListenAddress> ParseListenAddress(std::string_view listen) {
  const size_t colon = listen.rfind(':');
  ListenAddress address;
  if (colon != std::string_view::npos) {
    const std::string_view port = listen.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
    if (error == std::errc() && !port.empty() && end == port.data() + port.size()) {
      address.host = listen.substr(0, colon);
      if (address.host.empty()) address.host = "0.0.0.0";
      return address;
    }
  }
  return Error(StatusCode::kInvalidArgument,
               "listen address '{}' is not host:port, e.g. 127.0.0.1:8080", listen);
}

int Exit(std::string_view program, const Status& status) {
  if (status.ok()) return EXIT_SUCCESS;
  std::cerr << program << ": " << Message(status) << '\n';
  return EXIT_FAILURE;
}

}  // namespace millrace::service
