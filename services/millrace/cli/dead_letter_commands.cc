#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <vector>

#include "services/millrace/cli/runner.h"
#include "services/millrace/cli/table.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

constexpr char kPath[] = "/api/v1/dead-letters";

struct Which {
  std::vector<std::string> ids;
  std::string destination;
  bool all = false;
};

StatusOr<int> List(const Target& target, const std::string& destination) {
  MR_ASSIGN_OR_RETURN(const std::string id, ResolveId(target, "destinations", destination));
  MR_ASSIGN_OR_RETURN(const Json letters,
                      CallApiJson(target, {.path = kPath, .query = {{"destination", id}}}));
  if (target.json) return 0;
  if (letters.empty()) {
    Print("no dead letters\n");
    return 0;
  }
  std::vector<std::vector<std::string>> rows = {
      {"ID", "STATE", "FAILED AT", "STAGE", "DESTINATION", "ATTEMPTS", "REASON"}};
  for (const Json& letter : letters) {
    rows.push_back({Text(letter, "id"), Text(letter, "state"), Text(letter, "failedAt"),
                    Text(letter, "stage"), Text(letter, "destination"), Text(letter, "attempts"),
                    Text(letter, "reason").substr(0, 100)});
  }
  Print(FormatTable(rows));
  return 0;
}

StatusOr<int> Show(const Target& target, const std::string& id) {
  MR_ASSIGN_OR_RETURN(const std::string body,
                      CallApi(target, {.path = kPath, .query = {{"id", id}}}));
  const Json letters = Json::parse(body, nullptr, false);
  if (!letters.is_array() || letters.empty()) {
    return Error(StatusCode::kNotFound,
                 "there is no dead letter '{}'; see 'millrace dead-letter ls'", id);
  }
  const int indent = target.json ? -1 : 2;
  Print(letters[0].dump(indent, ' ', false, Json::error_handler_t::replace) + "\n");
  return 0;
}

StatusOr<int> Redrive(const Target& target, const Which& which) {
  if (which.ids.empty() && which.destination.empty() && !which.all) {
    return Error(StatusCode::kInvalidArgument, "say which: --id ID, --destination NAME or --all");
  }
  Json body = Json::object();
  if (!which.ids.empty()) body["ids"] = which.ids;
  if (!which.destination.empty()) {
    MR_ASSIGN_OR_RETURN(const std::string id, ResolveId(target, "destinations", which.destination));
    body["destination"] = id;
  }
  if (which.all) body["all"] = true;
  MR_ASSIGN_OR_RETURN(const Json answer,
                      CallApiJson(target, {.method = "POST",
                                           .path = std::string(kPath) + "/redrive",
                                           .body = body.dump()}));
  if (!target.json) Print(fmt::format("redriven: {}\n", Text(answer, "redriven")));
  return 0;
}

}  // namespace

void AddDeadLetterCommands(CLI::App& app) {
  CLI::App* group = app.add_subcommand("dead-letter", "Events that could not be delivered");
  group->require_subcommand(1);
  group->footer("Example: millrace dead-letter ls");

  CLI::App* list = group->add_subcommand("ls", "List dead letters, newest first");
  const auto list_target = AddTargetOptions(list);
  const auto list_destination = std::make_shared<std::string>();
  list->add_option("--destination", *list_destination, "Only of this destination (name or id)");
  list->footer("Example: millrace dead-letter ls --destination crm");
  SetWork(list, [list_target, list_destination] { return List(*list_target, *list_destination); });

  CLI::App* show = group->add_subcommand("show", "Show one whole: event, request, answer");
  const auto show_target = AddTargetOptions(show);
  const auto show_id = std::make_shared<std::string>();
  show->add_option("ID", *show_id, "Which")->required();
  show->footer("Example: millrace dead-letter show ID");
  SetWork(show, [show_target, show_id] { return Show(*show_target, *show_id); });

  CLI::App* redrive = group->add_subcommand("redrive", "Send dead letters again");
  const auto redrive_target = AddTargetOptions(redrive);
  const auto which = std::make_shared<Which>();
  CLI::Option* ids = redrive->add_option("--id", which->ids, "These; may be repeated");
  CLI::Option* destination = redrive->add_option("--destination", which->destination,
                                                 "All of this destination (name or id)");
  CLI::Option* all = redrive->add_flag("--all", which->all, "All");
  ids->excludes(destination)->excludes(all);
  destination->excludes(all);
  redrive->footer("Example: millrace dead-letter redrive --destination crm");
  SetWork(redrive, [redrive_target, which] { return Redrive(*redrive_target, *which); });
}

}  // namespace millrace::cli
