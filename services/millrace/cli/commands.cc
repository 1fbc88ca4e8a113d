#include "services/millrace/cli/commands.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/file.h"
#include "services/millrace/cli/destination_table.h"
#include "services/millrace/cli/local_document.h"
#include "services/millrace/cli/runner.h"
#include "services/millrace/cli/table.h"
#include "services/millrace/cli/transform_commands.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;
using Rows = std::vector<std::vector<std::string>>;

struct PlanArguments {
  std::string file;
  bool dry_run = false;
  bool prune = false;
  bool give_up_waiting = false;
};

/// Posts `body` and shows the plan that comes back.
StatusOr<int> PostPlan(const Target& target, const std::string& path,
                       const PlanArguments& arguments, std::string body) {
  MR_ASSIGN_OR_RETURN(
      const Json plan,
      CallApiJson(target, {.method = "POST",
                           .path = path,
                           .query = {{"dry_run", arguments.dry_run ? "true" : ""},
                                     {"prune", arguments.prune ? "true" : ""},
                                     {"give_up_waiting", arguments.give_up_waiting ? "true" : ""}},
                           .body = std::move(body)}));
  if (target.json) return 0;
  Rows rows;
  for (const Json& change : plan.value("changes", Json::array())) {
    const int64_t waiting = change.value("waiting", int64_t{0});
    rows.push_back({Text(change, "action"), Text(change, "kind"), Text(change, "name"),
                    waiting > 0 ? fmt::format("loses {} waiting events", waiting) : ""});
  }
  Print(FormatTable(rows));
  for (const Json& warning : plan.value("warnings", Json::array())) {
    Print("warning: " + (warning.is_string() ? warning.get<std::string>() : warning.dump()) + "\n");
  }
  Print(arguments.dry_run ? std::string("nothing was changed (--dry-run)\n")
                          : "applied, revision " + Text(plan, "revision") + "\n");
  return 0;
}

std::string Enabled(const Json& entity) {
  return entity.is_object() && entity.value("enabled", true) ? "yes" : "no";
}

std::string SourcesTable(const Json& list) {
  Rows rows = {{"NAME", "TYPE", "ENABLED", "WRITE KEY", "ID"}};
  for (const Json& one : list) {
    std::string key = Text(one, "writeKey");
    if (key.empty() && one.contains("writeKeys") && one["writeKeys"].is_array()) {
      for (const Json& entry : one["writeKeys"]) {
        if (entry.is_string()) key += (key.empty() ? "" : ",") + entry.get<std::string>();
      }
    }
    rows.push_back({Text(one, "name"), Text(one, "type"), Enabled(one), key, Text(one, "id")});
  }
  return FormatTable(rows);
}

/// The name of the entity of `list` with this id, or the id.
std::string NameOf(const Json& list, const std::string& id) {
  for (const Json& one : list) {
    if (Text(one, "id") == id) return Text(one, "name");
  }
  return id;
}

std::string ConnectionsTable(const Json& workspace) {
  const Json none = Json::array();
  const Json sources = workspace.value("sources", none);
  const Json destinations = workspace.value("destinations", none);
  Rows rows = {{"SOURCE", "DESTINATION", "ENABLED", "ID"}};
  for (const Json& one : workspace.value("connections", none)) {
    rows.push_back({NameOf(sources, Text(one, "source")),
                    NameOf(destinations, Text(one, "destination")), Enabled(one), Text(one, "id")});
  }
  return FormatTable(rows);
}

std::string ScriptsTable(const Json& list) {
  Rows rows = {{"NAME", "IMPORT NAME", "IN FORCE", "LATEST", "ID"}};
  const Json none = Json::object();
  for (const Json& one : list) {
    rows.push_back({Text(one, "name"), Text(one, "importName"),
                    Text(one.value("published", none), "number"),
                    Text(one.value("latest", none), "number"), Text(one, "id")});
  }
  return FormatTable(rows);
}

std::string CredentialsTable(const Json& list) {
  Rows rows = {{"KEY", "SECRET", "VALUE"}};
  for (const Json& one : list)
    rows.push_back({Text(one, "key"), Text(one, "secret"), Text(one, "value")});
  return FormatTable(rows);
}

StatusOr<int> Get(const Target& target, const std::string& what) {
  // A connection holds ids only; the table shows names, which the workspace has.
  const std::string path = what == "connections" && !target.json ? "workspace" : what;
  MR_ASSIGN_OR_RETURN(const Json answer, CallApiJson(target, {.path = "/api/v1/" + path}));
  if (target.json) return 0;
  const Json none = Json::array();
  if (what == "sources") {
    Print(SourcesTable(answer));
  } else if (what == "destinations") {
    Print(DestinationsTable(answer));
  } else if (what == "connections") {
    Print(ConnectionsTable(answer));
  } else if (what == "transformations" || what == "libraries") {
    Print(ScriptsTable(answer));
  } else if (what == "credentials") {
    Print(CredentialsTable(answer));
  } else {
    Print("SOURCES\n" + SourcesTable(answer.value("sources", none)) + "\nDESTINATIONS\n" +
          DestinationsTable(answer.value("destinations", none)) + "\nCONNECTIONS\n" +
          ConnectionsTable(answer) + "\nrevision " + Text(answer, "revision") + "\n");
  }
  return 0;
}

std::string Verdict(int64_t unexplained) {
  return unexplained == 0 ? "balanced" : fmt::format("NOT balanced: {} unexplained", unexplained);
}

/// One row of the audit: the sum on the left, what it must add up to, and whether it does.
std::vector<std::string> Equation(std::string name, const Json& row, const char* passed) {
  const int64_t residual = row.value("residual", int64_t{0});
  return {std::move(name),
          Text(row, "accepted"),
          "+",
          Text(row, "produced"),
          "=",
          Text(row, passed),
          "+",
          Text(row, "filtered"),
          "+",
          Text(row, "dropped"),
          "+",
          Text(row, "duplicates"),
          "+",
          Text(row, "dead_lettered"),
          "+",
          Text(row, "pending"),
          Verdict(residual)};
}

StatusOr<int> Audit(const Target& target) {
  MR_ASSIGN_OR_RETURN(const Json audit, CallApiJson(target, {.path = "/api/v1/audit"}));
  Rows sources = {{"SOURCE", "ACCEPTED", "+", "PRODUCED", "=", "PASSED ON", "+", "FILTERED", "+",
                   "DROPPED", "+", "DUPLICATES", "+", "DEAD", "+", "PENDING", ""}};
  for (const Json& row : audit.value("sources", Json::array())) {
    sources.push_back(Equation(Text(row, "source"), row, "passed_on"));
  }
  Rows connections = {{"CONNECTION", "OFFERED", "+", "PRODUCED", "=", "DELIVERED", "+", "FILTERED",
                       "+", "DROPPED", "+", "DUPLICATES", "+", "DEAD", "+", "PENDING", ""}};
  for (const Json& row : audit.value("connections", Json::array())) {
    connections.push_back(
        Equation(Text(row, "source") + " -> " + Text(row, "destination"), row, "delivered"));
  }
  const int64_t unexplained = audit.value("residual", int64_t{0});
  if (!target.json) {
    const bool moving = unexplained != 0 && audit.value("moving", false);
    Print(FormatTable(sources) + "\n" + FormatTable(connections) + "\n" + Verdict(unexplained) +
          (moving ? "; events moved while they were counted: ask again" : "") + "\n");
  }
  return unexplained == 0 ? 0 : 1;
}

StatusOr<int> Tail(const Target& target, const std::string& source,
                   const std::string& destination) {
  MR_ASSIGN_OR_RETURN(const std::string source_id, ResolveId(target, "sources", source));
  MR_ASSIGN_OR_RETURN(const std::string destination_id,
                      ResolveId(target, "destinations", destination));
  MR_ASSIGN_OR_RETURN(std::string authorization, Authorization(target));
  const RestRequest request{.path = "/api/v1/tail",
                            .query = {{"source", source_id}, {"destination", destination_id}},
                            .authorization = std::move(authorization)};
  MR_RETURN_IF_ERROR(RestClient(target.url).Stream(request, [&](std::string_view line) {
    const Json one = Json::parse(line, nullptr, false);
    if (target.json || !one.is_object()) {
      Print(std::string(line) + "\n");
    } else {
      const Json event = one.value("event", Json::object());
      std::string what = Text(one, "type") + " " + Text(event, "event");
      if (!one.contains("event")) what = "-> " + Text(one, "destination");
      const std::string at = Text(one, one.contains("at") ? "at" : "receivedAt");
      const std::string why = Text(one, one.contains("rejected") ? "rejected" : "reason");
      Print(FormatTable(
          {{at, fmt::format("{:<13}", Text(one, "stage")), Text(one, "messageId"), what, why}}));
    }
    return std::fflush(stdout) == 0;
  }));
  return Error(StatusCode::kUnavailable, "the server ended the tail");
}

void AddPlanCommands(CLI::App& app) {
  CLI::App* apply = app.add_subcommand("apply", "Make the workspace hold what a file says");
  const auto apply_target = AddTargetOptions(apply);
  const auto applied = std::make_shared<PlanArguments>();
  apply->add_option("-f,--file", applied->file, "YAML or JSON")->required();
  apply->add_flag("--dry-run", applied->dry_run, "Show the plan, change nothing");
  apply->add_flag(
      "--prune", applied->prune,
      "Also delete what the file does not name; of transformations, libraries and credentials "
      "only when the file has such a list");
  apply->add_flag("--give-up-waiting", applied->give_up_waiting,
                  "Allow to delete destinations for which events wait; these are lost to them");
  apply->footer(
      "Code may stand in files beside it, values of credentials in the environment:\n\n"
      "  libraries: [{name: text, file: libraries/text.js}]\n"
      "  transformations: [{name: clean-up, file: clean-up/transformation.js}]\n"
      "  credentials: [{key: apiKey, valueFrom: {env: API_KEY}}]\n"
      "  connections: [{source: web, destination: hook, transformations: [clean-up]}]\n\n"
      "Example: millrace apply -f workspace.yaml --dry-run");
  SetWork(apply, [apply_target, applied]() -> StatusOr<int> {
    MR_ASSIGN_OR_RETURN(const Json document, ReadDocument(applied->file, ProcessEnvironment));
    return PostPlan(*apply_target, "/api/v1/apply", *applied, document.dump());
  });

  CLI::App* import = app.add_subcommand("import", "Take over another pipeline's configuration");
  import->require_subcommand(1);
  import->footer("Example: millrace import rudderstack workspaceConfig.json --dry-run");
  CLI::App* rudderstack =
      import->add_subcommand("rudderstack", "From RudderStack's workspaceConfig.json");
  const auto import_target = AddTargetOptions(rudderstack);
  const auto imported = std::make_shared<PlanArguments>();
  rudderstack->add_option("FILE", imported->file, "workspaceConfig.json")->required();
  rudderstack->add_flag("--dry-run", imported->dry_run, "Show the plan, change nothing");
  rudderstack->footer("Example: millrace import rudderstack workspaceConfig.json --dry-run");
  SetWork(rudderstack, [import_target, imported]() -> StatusOr<int> {
    MR_ASSIGN_OR_RETURN(std::string text, ReadFile(imported->file));
    return PostPlan(*import_target, "/api/v1/import/rudderstack", *imported, std::move(text));
  });
}

void AddViewCommands(CLI::App& app) {
  CLI::App* get = app.add_subcommand("get", "Show the workspace or a part of it");
  const auto get_target = AddTargetOptions(get);
  const auto what = std::make_shared<std::string>();
  get->add_option(
         "WHAT", *what,
         "workspace, sources, destinations, connections, transformations, libraries or credentials")
      ->required()
      ->check(CLI::IsMember({"workspace", "sources", "destinations", "connections",
                             "transformations", "libraries", "credentials"}));
  get->footer("Example: millrace get sources");
  SetWork(get, [get_target, what] { return Get(*get_target, *what); });

  CLI::App* audit =
      app.add_subcommand("audit", "Show what became of every event; 1 when unexplained");
  const auto audit_target = AddTargetOptions(audit);
  audit->footer("Example: millrace audit");
  SetWork(audit, [audit_target] { return Audit(*audit_target); });

  CLI::App* tail = app.add_subcommand("tail", "Show events and deliveries as they come");
  const auto tail_target = AddTargetOptions(tail);
  const auto source = std::make_shared<std::string>();
  const auto destination = std::make_shared<std::string>();
  tail->add_option("--source", *source, "Only of this source (name or id)");
  tail->add_option("--destination", *destination, "Only to this destination (name or id)");
  tail->footer("Example: millrace tail --source web");
  SetWork(tail,
          [tail_target, source, destination] { return Tail(*tail_target, *source, *destination); });
}

}  // namespace
}  // namespace millrace::cli

void millrace::AddClientCommands(CLI::App& app) {
  cli::AddPlanCommands(app);
  cli::AddViewCommands(app);
  cli::AddSendCommand(app);
  cli::AddDeadLetterCommands(app);
  cli::AddDestinationCommands(app);
  cli::AddMapCommand(app);
  cli::AddTransformCommands(app);
  CLI::App* version = app.add_subcommand("version", "Print the version");
  version->footer("Example: millrace version");
  app.set_version_flag("--version", "millrace " MILLRACE_VERSION);
  cli::SetWork(version, []() -> StatusOr<int> {
    cli::Print("millrace " MILLRACE_VERSION "\n");
    return 0;
  });
}
