#pragma once

namespace CLI {
class App;
}

namespace millrace::cli {

/// Adds the group `transform`: `test` and `run` work without a server.
void AddTransformCommands(CLI::App& app);

void AddTransformTest(CLI::App& group);
void AddTransformRun(CLI::App& group);

}  // namespace millrace::cli
