#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <string>

#include "services/millrace/cli/deploy_document.h"
#include "services/millrace/cli/line_diff.h"
#include "services/millrace/cli/runner.h"
#include "services/millrace/cli/transform_commands.h"
#include "services/millrace/cli/transform_project.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

struct DiffArguments {
  std::string name, folder, version, source;
  int last = 10;
};

/// What is compared with the version in force: of the server, or of a folder.
struct Candidate {
  std::string code;
  std::string title;
  Json test = Json::object();  // the body of a test run, without events
};

StatusOr<Candidate> FromFolder(const DiffArguments& arguments) {
  MR_ASSIGN_OR_RETURN(const auto project, ReadProject(arguments.folder));
  for (const LocalTransformation& local : project) {
    if (local.name != arguments.name) continue;
    Candidate candidate{.code = local.version.code(), .title = arguments.folder};
    candidate.test = {{"code", candidate.code},
                      {"kind", local.version.kind() == config::v1::RULES ? "rules" : "javascript"},
                      {"libraryCode", Json::array()}};
    for (const auto& library : local.workspace.library_versions()) {
      candidate.test["libraryCode"].push_back(
          {{"importName", library.import_name()}, {"code", library.code()}});
    }
    return candidate;
  }
  return Error(StatusCode::kNotFound, "'{}' holds no transformation '{}'", arguments.folder,
               arguments.name);
}

StatusOr<Candidate> FromServer(const Target& quiet, const std::string& path,
                               const DiffArguments& arguments, const Json& script) {
  Candidate candidate;
  Json version = script.value("latest", Json::object());
  if (!arguments.version.empty()) {
    MR_ASSIGN_OR_RETURN(version, CallApiJson(quiet, {.path = path + "/versions/" +
                                                             PathSegment(arguments.version)}));
  }
  candidate.code = Text(version, "code");
  candidate.title = "version " + Text(version, "number");
  candidate.test = {{"version", Text(version, "id")}};
  return candidate;
}

std::string ErrorOf(const Json& outcome, const char* key) {
  return outcome.contains(key) ? Text(outcome[key], "message") : "";
}

void PrintOutcomes(const Json& run) {
  for (const Json& outcome : run.value("outcomes", Json::array())) {
    if (outcome.value("same", false)) continue;
    Print("event " + Text(outcome, "messageId") + "\n");
    for (const auto& [key, who] :
         {std::pair("inForceError", "in force"), std::pair("error", "candidate")}) {
      if (const std::string error = ErrorOf(outcome, key); !error.empty()) {
        Print(fmt::format("  {} fails: {}\n", who, error));
      }
    }
    for (const Json& difference : outcome.value("differences", Json::array())) {
      const auto side = [&](const char* key) {
        return difference.contains(key)
                   ? difference[key].dump(-1, ' ', false, Json::error_handler_t::replace)
                   : "(none)";
      };
      Print(fmt::format("  {}: {} -> {}\n", Text(difference, "path"), side("inForce"),
                        side("candidate")));
    }
  }
  Print(fmt::format("{} of {} events differ\n", Text(run, "different"), Text(run, "events")));
}

StatusOr<int> Diff(const Target& target, const DiffArguments& arguments) {
  Target quiet = target;
  quiet.json = false;
  const std::string path = "/api/v1/transformations/" + PathSegment(arguments.name);
  MR_ASSIGN_OR_RETURN(const Json script, CallApiJson(quiet, {.path = path}));
  if (!script.contains("published")) {
    return Error(StatusCode::kFailedPrecondition, "no version of '{}' is in force to compare with",
                 arguments.name);
  }
  MR_ASSIGN_OR_RETURN(const Candidate candidate, arguments.folder.empty()
                                                     ? FromServer(quiet, path, arguments, script)
                                                     : FromFolder(arguments));
  const std::string diff = LineDiff(Text(script["published"], "code"), candidate.code);
  Json run;
  if (!arguments.source.empty()) {
    Json body = candidate.test;
    body["source"] = arguments.source;
    body["last"] = arguments.last;
    MR_ASSIGN_OR_RETURN(
        run, CallApiJson(quiet, {.method = "POST", .path = path + "/test", .body = body.dump()}));
  }
  if (target.json) {
    Print(Json{{"codeDiff", diff}, {"run", run}}.dump(-1, ' ', false,
                                                      Json::error_handler_t::replace) +
          "\n");
    return 0;
  }
  const std::string number = Text(script["published"], "number");
  Print(diff.empty() ? "the code is that of version " + number + ", which is in force\n"
                     : "version " + number + " in force -> " + candidate.title + "\n" + diff);
  if (run.is_null())
    Print("give --source to compare what comes out for its last real events\n");
  else
    PrintOutcomes(run);
  return 0;
}

}  // namespace

void AddTransformDiff(CLI::App& group) {
  CLI::App* command = group.add_subcommand("diff",
                                           "Compare a transformation with its version in force: "
                                           "the code, and what comes out for real events");
  const auto target = AddTargetOptions(command);
  const auto arguments = std::make_shared<DiffArguments>();
  command->add_option("NAME", arguments->name, "Name")->required();
  auto* dir = command->add_option("--dir", arguments->folder,
                                  "Compare the files of this folder; else what the server has");
  command
      ->add_option("--version", arguments->version,
                   "Number or id of the server's version; else the latest")
      ->excludes(dir);
  command->add_option("--source", arguments->source,
                      "Run both on the last real events of this source (name or id)");
  command->add_option("--last", arguments->last, "How many events")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  millrace transform diff clean-up --source web --last 100\n"
      "  millrace transform diff clean-up --dir ./transformations --source web");
  SetWork(command, [target, arguments] { return Diff(*target, *arguments); });
}

}  // namespace millrace::cli
