#include "services/millrace/cli/transform_commands.h"

#include <CLI/CLI.hpp>

namespace millrace::cli {

void AddTransformCommands(CLI::App& app) {
  CLI::App* group = app.add_subcommand("transform", "Test, run, deploy and watch transformations");
  group->require_subcommand(1);
  group->footer(
      "Examples:\n"
      "  millrace transform test ./transformations\n"
      "  millrace transform run ./transformations/clean-up/transformation.js < events.ndjson\n"
      "  millrace transform deploy ./transformations --publish");
  // Without a server.
  AddTransformTest(*group);
  AddTransformRun(*group);
  // With one.
  AddTransformDeploy(*group);
  AddTransformDiff(*group);
  AddTransformServerCommands(*group);
}

}  // namespace millrace::cli
