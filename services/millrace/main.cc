// The command line: `millrace up` runs everything in this process, the other commands are clients
// of the control plane's API.

#include <CLI/CLI.hpp>

#include <algorithm>
#include <string>
#include <vector>

#include "libs/config/settings.h"
#include "libs/script/worker.h"
#include "libs/service/run.h"
#include "services/millrace/cli/commands.h"
#include "services/millrace/up.h"

namespace {

constexpr int kParserCodes = 99;
constexpr int kUsage = 2;

struct UpArguments {
  std::string config_path;
  std::string data_dir;
  std::string listen;
  std::vector<std::string> settings;
};

millrace::Status Up(const UpArguments& arguments) {
  std::vector<std::pair<std::string, std::string>> overrides;
  for (const std::string& setting : arguments.settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos) {
      return millrace::Error(millrace::StatusCode::kInvalidArgument,
                             "--set takes key.path=value, not '{}'", setting);
    }
    overrides.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
  }
  if (!arguments.data_dir.empty()) overrides.emplace_back("data_dir", arguments.data_dir);
  if (!arguments.listen.empty()) overrides.emplace_back("listen", '"' + arguments.listen + '"');
  millrace::settings::v1::ProcessSettings settings;
  MR_RETURN_IF_ERROR(millrace::config::LoadSettings(
      arguments.config_path, "MILLRACE", millrace::service::Environment(), overrides, &settings));
  MR_RETURN_IF_ERROR(millrace::service::SetUpProcess("millrace", settings.telemetry()));
  return millrace::up::Run(settings);
}

/// One line, like every other error.
std::string FailureMessage(const CLI::App* app, const CLI::Error& error) {
  std::string what = error.what();
  const auto unknown = app->remaining(true);
  if (error.get_name() == "RequiredError" && !unknown.empty()) {
    what = "'" + unknown.front() + "' is not understood";
  }
  std::replace(what.begin(), what.end(), '\n', ' ');
  return "millrace: " + what + "; see 'millrace --help' or 'millrace COMMAND --help'\n";
}

}  // namespace

int main(int argc, char** argv) {
  millrace::script::MaybeRunWorker(argc, argv);
  CLI::App app("Millrace: the self-hosted customer data pipeline", "millrace");
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  millrace up --data-dir ./millrace-data\n"
      "  millrace apply -f workspace.yaml --data-dir ./millrace-data\n"
      "  millrace send --write-key WRITE_KEY --event 'Order Completed' --count 10\n"
      "  millrace audit --data-dir ./millrace-data\n"
      "See 'millrace COMMAND --help' for each command.");
  UpArguments arguments;
  CLI::App* up = app.add_subcommand("up", "Run all services in this process");
  up->add_option("--config", arguments.config_path, "Settings file (YAML)");
  up->add_option("--data-dir", arguments.data_dir, "Folder of all data [./millrace-data]");
  up->add_option("--listen", arguments.listen, "host:port of events and API [127.0.0.1:8080]");
  up->add_option("--set", arguments.settings, "key.path=value, a single setting; may be repeated")
      ->allow_extra_args(false);
  up->footer("Example: millrace up --data-dir /var/lib/millrace --listen 0.0.0.0:8080");
  up->callback([&] {
    millrace::service::BlockSignals();
    const int code = millrace::service::Exit("millrace", Up(arguments));
    if (code != 0) throw CLI::RuntimeError(code);
  });
  millrace::AddClientCommands(app);
  app.failure_message(FailureMessage);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    // The parser has a number of its own for each mistake; shells expect 2 for all of them.
    return code > kParserCodes ? kUsage : code;
  }
  return 0;
}
