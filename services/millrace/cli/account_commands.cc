#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <vector>

#include "services/millrace/cli/command.h"
#include "services/millrace/cli/table.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

std::string Text(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return "";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

void PrintAudit(const Json& audit) {
  std::vector<std::vector<std::string>> sources{
      {"source", "accepted", "duplicates", "filtered", "dead-lettered", "pending", "passed on"}};
  for (const Json& one : audit.value("sources", Json::array())) {
    sources.push_back({Text(one, "source"), Text(one, "accepted"), Text(one, "duplicates"),
                       Text(one, "filtered"), Text(one, "dead_lettered"), Text(one, "pending"),
                       Text(one, "passed_on")});
  }
  std::vector<std::vector<std::string>> connections{
      {"connection", "events", "delivered", "filtered", "dropped", "dead-lettered", "pending"}};
  for (const Json& one : audit.value("connections", Json::array())) {
    connections.push_back({Text(one, "source") + " -> " + Text(one, "destination"), Text(one, "accepted"),
                           Text(one, "delivered"), Text(one, "filtered"), Text(one, "dropped"),
                           Text(one, "dead_lettered"), Text(one, "pending")});
  }
  if (sources.size() == 1) std::cout << "no events yet\n";
  else std::cout << FormatTable(sources);
  if (connections.size() > 1) std::cout << '\n' << FormatTable(connections);
  const int64_t residual = audit.value("residual", int64_t{0});
  std::cout << "\nresidual " << residual
            << (residual == 0 ? ": every accepted event is accounted for\n"
                              : ": events that are not accounted for, a bug; please report it\n");
}

Status Audit(const Access& access, bool check) {
  MR_ASSIGN_OR_RETURN(RestClient client, Connect(access));
  MR_ASSIGN_OR_RETURN(const Json audit, client.Get("/api/v1/audit"));
  if (access.json) std::cout << audit.dump(2) << '\n';
  else PrintAudit(audit);
  if (check && (audit.value("residual", 0) != 0 || audit.value("pending", 0) != 0)) {
    return Error(StatusCode::kFailedPrecondition, "not balanced: residual {}, pending {}",
                 audit.value("residual", 0), audit.value("pending", 0));
  }
  return OkStatus();
}

Status List(const Access& access, const std::string& destination, int limit) {
  MR_ASSIGN_OR_RETURN(RestClient client, Connect(access));
  MR_ASSIGN_OR_RETURN(const Json letters,
                      client.Get(fmt::format("/api/v1/dead-letters?destination={}&limit={}",
                                             EncodeQuery(destination), limit)));
  if (access.json) {
    std::cout << letters.dump(2) << '\n';
    return OkStatus();
  }
  if (letters.empty()) {
    std::cout << "no dead letters\n";
    return OkStatus();
  }
  std::vector<std::vector<std::string>> rows{
      {"id", "failed at", "state", "stage", "destination", "attempts", "reason"}};
  for (const Json& letter : letters) {
    rows.push_back({Text(letter, "id"), Text(letter, "failedAt"), Text(letter, "state"),
                    Text(letter, "stage"), Text(letter, "destination"), Text(letter, "attempts"),
                    Text(letter, "reason")});
  }
  std::cout << FormatTable(rows);
  return OkStatus();
}

Status Show(const Access& access, const std::string& id) {
  MR_ASSIGN_OR_RETURN(RestClient client, Connect(access));
  MR_ASSIGN_OR_RETURN(const Json letters, client.Get("/api/v1/dead-letters?id=" + EncodeQuery(id)));
  if (!letters.is_array() || letters.empty()) {
    return Error(StatusCode::kNotFound,
                 "there is no dead letter '{}'; `millrace dead-letter ls` lists them", id);
  }
  std::cout << letters[0].dump(2) << '\n';
  return OkStatus();
}

Status Redrive(const Access& access, const std::vector<std::string>& ids, const std::string& destination,
               bool all) {
  if (ids.empty() && destination.empty() && !all) {
    return MakeStatus(StatusCode::kInvalidArgument, "say which: ids, --destination NAME, or --all");
  }
  Json body = Json::object();
  if (!ids.empty()) body["ids"] = ids;
  if (!destination.empty()) body["destination"] = destination;
  if (all) body["all"] = true;
  MR_ASSIGN_OR_RETURN(RestClient client, Connect(access));
  MR_ASSIGN_OR_RETURN(const Json answer, client.Post("/api/v1/dead-letters/redrive", body));
  if (access.json) std::cout << answer.dump(2) << '\n';
  else std::cout << "sent again: " << answer.value("redriven", 0) << '\n';
  return OkStatus();
}

void AddDeadLetter(CLI::App& app) {
  struct Arguments {
    std::string destination;
    std::vector<std::string> ids;
    int limit = 50;
    bool all = false;
  };
  CLI::App* parent = app.add_subcommand("dead-letter", "Events that could not be delivered");
  parent->require_subcommand(1);
  parent->footer(
      "Examples:\n"
      "  millrace dead-letter ls --destination \"my webhook\"\n"
      "  millrace dead-letter redrive --destination \"my webhook\"");

  CLI::App* list = parent->add_subcommand("ls", "List them, newest first");
  const auto list_access = AddAccess(list);
  const auto list_arguments = std::make_shared<Arguments>();
  list->add_option("--destination", list_arguments->destination, "Only of this destination (name or id)");
  list->add_option("--limit", list_arguments->limit, "At most so many [50]");
  OnRun(list, [=] { return List(*list_access, list_arguments->destination, list_arguments->limit); });

  CLI::App* show = parent->add_subcommand("show", "One of them whole: event, last request and answer");
  const auto show_access = AddAccess(show);
  const auto show_id = std::make_shared<std::string>();
  show->add_option("id", *show_id, "Its id")->required();
  OnRun(show, [=] { return Show(*show_access, *show_id); });

  CLI::App* redrive = parent->add_subcommand("redrive", "Send them again");
  const auto redrive_access = AddAccess(redrive);
  const auto redrive_arguments = std::make_shared<Arguments>();
  redrive->add_option("id", redrive_arguments->ids, "Ids of dead letters");
  redrive->add_option("--destination", redrive_arguments->destination,
                      "All of this destination (name or id)");
  redrive->add_flag("--all", redrive_arguments->all, "All there are");
  OnRun(redrive, [=] {
    return Redrive(*redrive_access, redrive_arguments->ids, redrive_arguments->destination,
                   redrive_arguments->all);
  });
}

}  // namespace

void AddAccountCommands(CLI::App& app) {
  CLI::App* audit = app.add_subcommand("audit", "Show what became of every event");
  const auto access = AddAccess(audit);
  const auto check = std::make_shared<bool>(false);
  audit->add_flag("--check", *check, "Fail when events are pending or unaccounted for");
  audit->footer(
      "accepted = delivered + filtered + dropped + dead-lettered + pending, per source and connection.\n"
      "Example: millrace audit --json | jq .residual");
  OnRun(audit, [=] { return Audit(*access, *check); });
  AddDeadLetter(app);
}

}  // namespace millrace::cli
