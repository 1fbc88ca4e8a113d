#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "libs/config/settings.h"
#include "services/millrace/cli/command.h"
#include "services/millrace/cli/table.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

std::string Cell(const Json& entity, const char* key) {
  const auto found = entity.find(key);
  if (found == entity.end() || found->is_null()) return "";
  if (found->is_boolean()) return found->get<bool>() ? "yes" : "no";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

/// Text is always quoted, so that it reads back as text.
void EmitYaml(const Json& json, YAML::Emitter* out) {
  if (json.is_object()) {
    *out << YAML::BeginMap;
    for (const auto& [key, value] : json.items()) {
      *out << YAML::Key << key << YAML::Value;
      EmitYaml(value, out);
    }
    *out << YAML::EndMap;
  } else if (json.is_array()) {
    *out << YAML::BeginSeq;
    for (const Json& value : json) EmitYaml(value, out);
    *out << YAML::EndSeq;
  } else if (json.is_string()) {
    *out << YAML::DoubleQuoted << json.get<std::string>();
  } else {
    *out << json.dump();
  }
}

void PrintPlan(const Json& plan, bool json) {
  if (json) {
    std::cout << plan.dump(2) << '\n';
    return;
  }
  std::vector<std::vector<std::string>> rows;
  int changed = 0;
  for (const Json& change : plan.value("changes", Json::array())) {
    rows.push_back({Cell(change, "action"), Cell(change, "kind"), Cell(change, "name")});
    changed += change.value("action", "") == "unchanged" ? 0 : 1;
  }
  std::cout << FormatTable(rows);
  for (const Json& warning : plan.value("warnings", Json::array())) {
    std::cout << "warning: " << warning.get<std::string>() << '\n';
  }
  if (changed == 0) std::cout << "nothing to change";
  else if (plan.value("applied", false)) std::cout << "applied";
  else std::cout << "dry run: nothing was changed";
  std::cout << "; revision " << plan.value("revision", 0) << '\n';
}

Status Apply(const Access& access, const std::string& path, bool dry_run, bool prune) {
  MR_ASSIGN_OR_RETURN(const std::string yaml, ReadInput(path));
  const auto document = config::YamlToJson(yaml);
  if (!document.ok()) return Annotate(document.status(), path);
  MR_ASSIGN_OR_RETURN(RestClient client, Connect(access));
  auto plan = client.Post(fmt::format("/api/v1/apply?dry_run={}&prune={}", dry_run, prune),
                          Json::parse(*document));
  if (!plan.ok()) return Annotate(plan.status(), path);
  PrintPlan(*plan, access.json);
  return OkStatus();
}

Status Import(const Access& access, const std::string& path, bool dry_run) {
  MR_ASSIGN_OR_RETURN(const std::string text, ReadInput(path));
  const Json document = Json::parse(text, nullptr, false);
  if (document.is_discarded()) return Error(StatusCode::kInvalidArgument, "{}: is not JSON", path);
  MR_ASSIGN_OR_RETURN(RestClient client, Connect(access));
  auto plan = client.Post(fmt::format("/api/v1/import/rudderstack?dry_run={}", dry_run), document);
  if (!plan.ok()) return Annotate(plan.status(), path);
  PrintPlan(*plan, access.json);
  return OkStatus();
}

Status GetWorkspace(const Access& access) {
  MR_ASSIGN_OR_RETURN(RestClient client, Connect(access));
  MR_ASSIGN_OR_RETURN(Json workspace, client.Get("/api/v1/workspace"));
  if (access.json) {
    std::cout << workspace.dump(2) << '\n';
    return OkStatus();
  }
  std::cout << "# revision " << workspace.value("revision", 0)
            << "; secrets are masked, and stay as they are when applied again\n";
  workspace.erase("revision");
  YAML::Emitter out;
  EmitYaml(workspace, &out);
  std::cout << out.c_str() << '\n';
  return OkStatus();
}

Status GetList(const Access& access, const std::string& kind, const std::vector<const char*>& columns) {
  MR_ASSIGN_OR_RETURN(RestClient client, Connect(access));
  MR_ASSIGN_OR_RETURN(Json workspace, client.Get("/api/v1/workspace"));
  const Json list = workspace.value(kind, Json::array());
  if (access.json) {
    std::cout << list.dump(2) << '\n';
    return OkStatus();
  }
  if (list.empty()) {
    std::cout << "no " << kind << " yet; see `millrace apply --help`\n";
    return OkStatus();
  }
  const auto name_of = [&workspace](const std::string& of, const std::string& id) {
    for (const Json& entity : workspace.value(of, Json::array())) {
      if (entity.value("id", "") == id) return entity.value("name", id);
    }
    return id;
  };
  std::vector<std::vector<std::string>> rows{{columns.begin(), columns.end()}};
  for (const Json& entity : list) {
    std::vector<std::string>& row = rows.emplace_back();
    for (const std::string column : columns) {
      if (column == "writeKeys") {
        std::string keys;
        for (const Json& key : entity.value("writeKeys", Json::array())) {
          keys += (keys.empty() ? "" : ",") + key.get<std::string>();
        }
        row.push_back(keys);
      } else if (column == "source" || column == "destination") {
        row.push_back(name_of(column + "s", entity.value(column, "")));
      } else {
        row.push_back(Cell(entity, column.c_str()));
      }
    }
  }
  std::cout << FormatTable(rows);
  return OkStatus();
}

void AddGet(CLI::App& app) {
  CLI::App* get = app.add_subcommand("get", "Show what is configured");
  get->require_subcommand(1);
  get->footer("Examples:\n  millrace get sources\n  millrace get workspace > workspace.yaml");
  const auto add = [get](const char* kind, std::vector<const char*> columns) {
    CLI::App* command = get->add_subcommand(kind, std::string("List the ") + kind);
    const auto access = AddAccess(command);
    OnRun(command, [=] { return GetList(*access, kind, columns); });
  };
  add("sources", {"name", "type", "enabled", "writeKeys", "id"});
  add("destinations", {"name", "type", "enabled", "id"});
  add("connections", {"source", "destination", "enabled", "id"});
  CLI::App* workspace = get->add_subcommand("workspace", "All of it, as `apply` takes it");
  const auto access = AddAccess(workspace);
  OnRun(workspace, [=] { return GetWorkspace(*access); });
}

}  // namespace

void AddWorkspaceCommands(CLI::App& app) {
  struct Arguments {
    std::string path;
    bool dry_run = false;
    bool prune = false;
  };
  CLI::App* apply = app.add_subcommand("apply", "Make the workspace hold what a file says");
  const auto access = AddAccess(apply);
  const auto arguments = std::make_shared<Arguments>();
  apply->add_option("-f,--file", arguments->path, "Workspace document, YAML or JSON; - is standard input")
      ->required();
  apply->add_flag("--dry-run", arguments->dry_run, "Show the plan, change nothing");
  apply->add_flag("--prune", arguments->prune, "Also delete what the file does not name");
  apply->footer(
      "Example:\n"
      "  millrace apply -f workspace.yaml --dry-run\n\n"
      "  # workspace.yaml\n"
      "  sources:\n"
      "    - {name: website, writeKey: a-key}\n"
      "  destinations:\n"
      "    - {name: hook, type: WEBHOOK, config: {webhookUrl: \"https://example.com/in\"}}\n"
      "  connections:\n"
      "    - {source: website, destination: hook}");
  OnRun(apply, [=] { return Apply(*access, arguments->path, arguments->dry_run, arguments->prune); });

  AddGet(app);

  CLI::App* import = app.add_subcommand("import", "Take over another product's configuration");
  import->require_subcommand(1);
  CLI::App* rudderstack = import->add_subcommand("rudderstack", "RudderStack's workspaceConfig.json");
  const auto import_access = AddAccess(rudderstack);
  const auto import_arguments = std::make_shared<Arguments>();
  rudderstack->add_option("file", import_arguments->path, "workspaceConfig.json; - is standard input")
      ->required();
  rudderstack->add_flag("--dry-run", import_arguments->dry_run, "Show the plan, change nothing");
  rudderstack->footer("Example: millrace import rudderstack workspaceConfig.json --dry-run");
  OnRun(rudderstack, [=] {
    return Import(*import_access, import_arguments->path, import_arguments->dry_run);
  });
}

}  // namespace millrace::cli
