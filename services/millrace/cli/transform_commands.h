#pragma once

namespace CLI {
class App;
}

namespace millrace::cli {

/// Adds the group `transform`: `test` and `run` work without a server, the others are clients of
/// the API.
void AddTransformCommands(CLI::App& app);

void AddTransformTest(CLI::App& group);
void AddTransformRun(CLI::App& group);
void AddTransformDeploy(CLI::App& group);
void AddTransformDiff(CLI::App& group);
/// `ls`, `publish`, `rollback`, `shadow` and `logs`.
void AddTransformServerCommands(CLI::App& group);

}  // namespace millrace::cli
