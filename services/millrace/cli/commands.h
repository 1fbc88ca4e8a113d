#pragma once

namespace CLI {
class App;
}

namespace millrace {

/// Adds the subcommands that talk to a running server (and `map` and `version`) to `app`. A command
/// that fails prints one line to stderr and throws CLI::RuntimeError with the exit code, which
/// CLI11_PARSE turns into the process's exit code.
void AddClientCommands(CLI::App& app);

}  // namespace millrace
