#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <string>

#include "services/millrace/cli/deploy_document.h"
#include "services/millrace/cli/runner.h"
#include "services/millrace/cli/table.h"
#include "services/millrace/cli/transform_commands.h"
#include "services/millrace/cli/transform_project.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

struct DeployArguments {
  std::string folder;
  bool publish = false;
  bool dry_run = false;
};

StatusOr<int> Deploy(const Target& target, const DeployArguments& arguments) {
  MR_ASSIGN_OR_RETURN(const auto project, ReadProject(arguments.folder));
  MR_ASSIGN_OR_RETURN(const Json document, DeployDocument(project, arguments.publish));
  MR_ASSIGN_OR_RETURN(const Json plan,
                      CallApiJson(target, {.method = "POST",
                                           .path = "/api/v1/apply",
                                           .query = {{"dry_run", arguments.dry_run ? "true" : ""}},
                                           .body = document.dump()}));
  if (target.json) return 0;
  std::vector<std::vector<std::string>> rows;
  bool changed = false;
  for (const Json& change : plan.value("changes", Json::array())) {
    rows.push_back({Text(change, "action"), Text(change, "kind"), Text(change, "name")});
    changed = changed || rows.back()[0] != "unchanged";
  }
  Print(FormatTable(rows));
  if (arguments.dry_run) {
    Print("nothing was changed (--dry-run)\n");
  } else if (!changed) {
    Print(arguments.publish ? "all of it is in force already\n"
                            : "the server has all of it already\n");
  } else if (arguments.publish) {
    Print("in force, revision " + Text(plan, "revision") + "\n");
  } else {
    Print(
        "saved, not in force yet: see 'millrace transform diff NAME', then 'millrace transform "
        "publish NAME'\n");
  }
  return 0;
}

}  // namespace

void AddTransformDeploy(CLI::App& group) {
  CLI::App* command =
      group.add_subcommand("deploy", "Save a folder's transformations and libraries on the server");
  const auto target = AddTargetOptions(command);
  const auto arguments = std::make_shared<DeployArguments>();
  command->add_option("DIR", arguments->folder, "The folder, as for 'millrace transform test'")
      ->required();
  command->add_flag("--publish", arguments->publish,
                    "Put all of it in force, in one step or not at all");
  command->add_flag("--dry-run", arguments->dry_run, "Check and show the plan, change nothing");
  command->footer(
      "What differs from the server's becomes a new version; what does not is left alone. "
      "Credentials are not\n"
      "taken along: set them with 'millrace apply' (valueFrom: {env: NAME}).\n\n"
      "Examples:\n"
      "  millrace transform deploy ./transformations --publish --dry-run\n"
      "  millrace transform deploy ./transformations --publish");
  SetWork(command, [target, arguments] { return Deploy(*target, *arguments); });
}

}  // namespace millrace::cli
