#include "libs/service/run.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
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
  signal(SIGXFSZ, SIG_IGN);
}

int RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised{limit.rlim_max, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return static_cast<int>(std::min<rlim_t>(limit.rlim_cur, INT_MAX));
}

int FirstReservedDescriptor() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const int all = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, INT_MAX));
  return std::max(1, all - std::clamp(all / 4, 64, 4096));
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
  RaiseDescriptorLimit();
  if (const char* failpoints = std::getenv("MILLRACE_FAILPOINT"); failpoints != nullptr) {
    MR_RETURN_IF_ERROR(Annotate(ArmFailpoints(failpoints), "MILLRACE_FAILPOINT"));
  }
  return OkStatus();
}

std::string InstanceName(const settings::v1::ProcessSettings& settings) {
  if (!settings.instance().empty()) return settings.instance();
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
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
