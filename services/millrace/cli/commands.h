#pragma once

namespace CLI {
class App;
}

namespace millrace {

/// Adds every command that is a client of a running Millrace, and those that need none (map, version). A
/// command that fails prints one line on standard error and ends parsing with CLI::RuntimeError.
void AddClientCommands(CLI::App& app);

}  // namespace millrace
