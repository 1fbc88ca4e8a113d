#include "services/millrace/cli/commands.h"

#include <CLI/CLI.hpp>
#include <iostream>

#include "services/millrace/cli/command.h"

namespace millrace {

void AddClientCommands(CLI::App& app) {
  cli::AddWorkspaceCommands(app);
  cli::AddEventCommands(app);
  cli::AddAccountCommands(app);
  cli::AddMapCommand(app);
  CLI::App* version = app.add_subcommand("version", "Print the version");
  version->callback([] { std::cout << "millrace " MILLRACE_VERSION "\n"; });
  app.footer(
      "Commands that talk to a running Millrace find it at --url or MILLRACE_URL, and its API token in\n"
      "--token, MILLRACE_TOKEN or the file api-token of the data folder.");
}

}  // namespace millrace
