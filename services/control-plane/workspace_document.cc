#include "services/control-plane/workspace_document.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "libs/base/ids.h"
#include "libs/base/string_map.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;
using config::v1::Connection;
using config::v1::Destination;
using config::v1::Source;
using config::v1::Workspace;
using google::protobuf::util::MessageDifferencer;

Status Invalid(std::string_view where, std::string_view what) {
  return Error(StatusCode::kInvalidArgument, "{}: {}", where, what);
}

/// Reads the fields of one entry and refuses those it does not know.
class Entry {
 public:
  Entry(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  Status Text(const char* key, std::string* out) {
    known_.insert(key);
    const auto found = json_.find(key);
    if (found == json_.end()) return OkStatus();
    if (!found->is_string()) return Invalid(where_, fmt::format("'{}' must be text", key));
    *out = found->get<std::string>();
    return OkStatus();
  }
  Status Flag(const char* key, bool* out) {
    known_.insert(key);
    const auto found = json_.find(key);
    if (found == json_.end()) return OkStatus();
    if (!found->is_boolean()) return Invalid(where_, fmt::format("'{}' must be true or false", key));
    *out = found->get<bool>();
    return OkStatus();
  }
  Status Number(const char* key, int64_t* out) {
    known_.insert(key);
    const auto found = json_.find(key);
    if (found == json_.end()) return OkStatus();
    if (!found->is_number_integer()) {
      return Invalid(where_, fmt::format("'{}' must be a whole number", key));
    }
    *out = found->get<int64_t>();
    return OkStatus();
  }
  /// The value of `key`, or null.
  const Json* Any(const char* key) {
    known_.insert(key);
    const auto found = json_.find(key);
    return found == json_.end() ? nullptr : &*found;
  }
  Status RefuseOthers() const {
    for (const auto& [key, value] : json_.items()) {
      if (!known_.contains(key)) return Invalid(where_, fmt::format("unknown key '{}'", key));
    }
    return OkStatus();
  }

 private:
  const Json& json_;
  std::string where_;
  StringSet known_;
};

/// A secret that was read back masked takes its stored value again.
void KeepMaskedSecrets(const Json& stored, Json* given) {
  if (given->is_object() && stored.is_object()) {
    for (auto& [key, value] : given->items()) {
      if (stored.contains(key)) KeepMaskedSecrets(stored[key], &value);
    }
  } else if (given->is_array() && stored.is_array()) {
    for (size_t i = 0; i < std::min(given->size(), stored.size()); ++i) {
      KeepMaskedSecrets(stored[i], &(*given)[i]);
    }
  } else if (given->is_string() && stored.is_string() &&
             given->get_ref<const std::string&>().rfind("***", 0) == 0) {
    *given = stored;
  }
}

template <typename List>
auto* FindEntity(List* list, const std::string& id, const std::string& name) {
  for (auto& entity : *list) {
    if (id.empty() ? entity.name() == name : entity.id() == id) return &entity;
  }
  return static_cast<decltype(&*list->begin())>(nullptr);
}

/// What both kinds of named entities share: finds or makes the entity, fills its name.
template <typename List>
Status Locate(Entry* entry, List* list, std::string_view prefix, std::string* action,
              decltype(&*list->begin())* found) {
  std::string id, name;
  MR_RETURN_IF_ERROR(entry->Text("id", &id));
  MR_RETURN_IF_ERROR(entry->Text("name", &name));
  if (id.empty() && name.empty()) return Invalid(entry->where(), "needs a 'name' or an 'id'");
  *found = FindEntity(list, id, name);
  *action = *found == nullptr ? "create" : "update";
  if (*found == nullptr) {
    *found = list->Add();
    (*found)->set_id(id.empty() ? NewId(prefix) : id);
    (*found)->set_enabled(true);
  }
  if (!name.empty()) (*found)->set_name(name);
  if ((*found)->name().empty()) (*found)->set_name((*found)->id());
  return OkStatus();
}

Status FillSource(Entry* entry, Source* source) {
  bool enabled = source->enabled();
  MR_RETURN_IF_ERROR(entry->Flag("enabled", &enabled));
  source->set_enabled(enabled);
  MR_RETURN_IF_ERROR(entry->Text("type", source->mutable_type()));
  MR_RETURN_IF_ERROR(entry->Text("category", source->mutable_category()));
  int64_t window = source->dedup_window_s();
  MR_RETURN_IF_ERROR(entry->Number("dedupWindowSeconds", &window));
  source->set_dedup_window_s(window);
  std::string key;
  MR_RETURN_IF_ERROR(entry->Text("writeKey", &key));
  if (!key.empty()) {
    source->clear_write_keys();
    source->add_write_keys(key);
  }
  if (const Json* keys = entry->Any("writeKeys"); keys != nullptr) {
    source->clear_write_keys();
    for (const Json& one : *keys) {
      if (!one.is_string()) return Invalid(entry->where(), "'writeKeys' must be a list of texts");
      source->add_write_keys(one.get<std::string>());
    }
  }
  if (source->write_keys().empty()) source->add_write_keys(NewId(""));
  if (const Json* config = entry->Any("config"); config != nullptr) {
    source->set_config_json(config->dump());
  }
  return entry->RefuseOthers();
}

Status FillDestination(Entry* entry, const DestinationHooks& hooks, Destination* destination) {
  bool enabled = destination->enabled();
  MR_RETURN_IF_ERROR(entry->Flag("enabled", &enabled));
  destination->set_enabled(enabled);
  MR_RETURN_IF_ERROR(entry->Text("type", destination->mutable_type()));
  if (destination->type().empty()) return Invalid(entry->where(), "needs a 'type', e.g. WEBHOOK");
  if (const Json* config = entry->Any("config"); config != nullptr) {
    if (!config->is_object()) return Invalid(entry->where(), "'config' must hold keys and values");
    Json given = *config;
    const Json stored = Json::parse(destination->config_json(), nullptr, false);
    if (!stored.is_discarded()) KeepMaskedSecrets(stored, &given);
    destination->set_config_json(given.dump());
  }
  if (destination->config_json().empty()) destination->set_config_json("{}");
  if (destination->enabled()) {
    MR_RETURN_IF_ERROR(
        Annotate(hooks.validate(destination->type(), destination->config_json()), entry->where()));
  }
  return entry->RefuseOthers();
}

Status FillConnection(Entry* entry, Workspace* workspace, PlannedChange* change) {
  std::string id, source_name, destination_name;
  MR_RETURN_IF_ERROR(entry->Text("id", &id));
  MR_RETURN_IF_ERROR(entry->Text("source", &source_name));
  MR_RETURN_IF_ERROR(entry->Text("destination", &destination_name));
  const auto find = [](auto* list, const std::string& name) {
    auto* by_id = FindEntity(list, name, "");
    return by_id != nullptr ? by_id : FindEntity(list, "", name);
  };
  const Source* source = find(workspace->mutable_sources(), source_name);
  if (source == nullptr) {
    return Invalid(entry->where(), fmt::format("there is no source '{}'", source_name));
  }
  const Destination* destination = find(workspace->mutable_destinations(), destination_name);
  if (destination == nullptr) {
    return Invalid(entry->where(), fmt::format("there is no destination '{}'", destination_name));
  }
  change->name = source->name() + " -> " + destination->name();
  Connection* connection = nullptr;
  for (Connection& one : *workspace->mutable_connections()) {
    if (one.source_id() == source->id() && one.destination_id() == destination->id()) {
      connection = &one;
    }
  }
  const Connection before = connection == nullptr ? Connection() : *connection;
  change->action = connection == nullptr ? "create" : "update";
  if (connection == nullptr) {
    connection = workspace->add_connections();
    connection->set_id(id.empty() ? NewId("conn_") : id);
    connection->set_source_id(source->id());
    connection->set_destination_id(destination->id());
    connection->set_enabled(true);
  }
  bool enabled = connection->enabled();
  MR_RETURN_IF_ERROR(entry->Flag("enabled", &enabled));
  connection->set_enabled(enabled);
  if (MessageDifferencer::Equals(before, *connection)) change->action = "unchanged";
  return entry->RefuseOthers();
}

Status CheckWriteKeys(const Workspace& workspace) {
  StringMap<std::string> owners;
  for (const Source& source : workspace.sources()) {
    for (const std::string& key : source.write_keys()) {
      const auto [found, fresh] = owners.try_emplace(key, source.name());
      if (!fresh) {
        return Invalid(fmt::format("source '{}'", source.name()),
                       fmt::format("its write key is also that of source '{}'", found->second));
      }
    }
  }
  return OkStatus();
}

/// The list under `key`, or an empty one.
StatusOr<Json> ListOf(const Json& document, const char* key) {
  const auto found = document.find(key);
  if (found == document.end() || found->is_null()) return Json::array();
  if (!found->is_array()) return Invalid(key, "must be a list");
  for (size_t i = 0; i < found->size(); ++i) {
    if (!(*found)[i].is_object()) {
      return Invalid(fmt::format("{}[{}]", key, i), "must hold keys and values");
    }
  }
  return *found;
}

}  // namespace

StatusOr<std::vector<PlannedChange>> ApplyDocument(const Json& document,
                                                   const DestinationHooks& hooks,
                                                   Workspace* workspace) {
  if (!document.is_object()) return Invalid("workspace", "must hold sources, destinations, connections");
  for (const auto& [key, value] : document.items()) {
    if (key != "sources" && key != "destinations" && key != "connections") {
      return Invalid("workspace", fmt::format("unknown key '{}'", key));
    }
  }
  std::vector<PlannedChange> plan;
  MR_ASSIGN_OR_RETURN(const Json sources, ListOf(document, "sources"));
  for (size_t i = 0; i < sources.size(); ++i) {
    Entry entry(sources[i], fmt::format("sources[{}]", i));
    PlannedChange change{.kind = "source"};
    Source* source = nullptr;
    MR_RETURN_IF_ERROR(
        Locate(&entry, workspace->mutable_sources(), "src_", &change.action, &source));
    const Source before = *source;
    MR_RETURN_IF_ERROR(FillSource(&entry, source));
    if (change.action == "update" && MessageDifferencer::Equals(before, *source)) {
      change.action = "unchanged";
    }
    change.name = source->name();
    plan.push_back(std::move(change));
  }
  MR_ASSIGN_OR_RETURN(const Json destinations, ListOf(document, "destinations"));
  for (size_t i = 0; i < destinations.size(); ++i) {
    Entry entry(destinations[i], fmt::format("destinations[{}]", i));
    PlannedChange change{.kind = "destination"};
    Destination* destination = nullptr;
    MR_RETURN_IF_ERROR(
        Locate(&entry, workspace->mutable_destinations(), "dst_", &change.action, &destination));
    const Destination before = *destination;
    MR_RETURN_IF_ERROR(FillDestination(&entry, hooks, destination));
    if (change.action == "update" && MessageDifferencer::Equals(before, *destination)) {
      change.action = "unchanged";
    } else {
      destination->set_revision(NewId("rev_"));
    }
    change.name = destination->name();
    plan.push_back(std::move(change));
  }
  MR_ASSIGN_OR_RETURN(const Json connections, ListOf(document, "connections"));
  for (size_t i = 0; i < connections.size(); ++i) {
    Entry entry(connections[i], fmt::format("connections[{}]", i));
    PlannedChange change{.kind = "connection"};
    MR_RETURN_IF_ERROR(FillConnection(&entry, workspace, &change));
    plan.push_back(std::move(change));
  }
  MR_RETURN_IF_ERROR(CheckWriteKeys(*workspace));
  return plan;
}

Json ToDocument(const Workspace& workspace, const DestinationHooks& hooks) {
  Json document = {{"sources", Json::array()},
                   {"destinations", Json::array()},
                   {"connections", Json::array()}};
  for (const Source& source : workspace.sources()) {
    Json one = {{"id", source.id()}, {"name", source.name()}, {"type", source.type()},
                {"enabled", source.enabled()}, {"writeKeys", Json::array()}};
    for (const std::string& key : source.write_keys()) one["writeKeys"].push_back(key);
    if (!source.category().empty()) one["category"] = source.category();
    if (source.dedup_window_s() != 0) one["dedupWindowSeconds"] = source.dedup_window_s();
    document["sources"].push_back(std::move(one));
  }
  for (const Destination& destination : workspace.destinations()) {
    document["destinations"].push_back(
        {{"id", destination.id()},
         {"name", destination.name()},
         {"type", destination.type()},
         {"enabled", destination.enabled()},
         {"config",
          Json::parse(hooks.mask(destination.type(), destination.config_json()), nullptr, false)}});
  }
  for (const Connection& connection : workspace.connections()) {
    document["connections"].push_back({{"id", connection.id()},
                                       {"source", connection.source_id()},
                                       {"destination", connection.destination_id()},
                                       {"enabled", connection.enabled()}});
  }
  return document;
}

StatusOr<Json> DocumentFromRudderStack(const Json& workspace_config, const DestinationHooks& hooks,
                                       std::vector<std::string>* warnings) {
  if (!workspace_config.is_object() || !workspace_config.contains("sources")) {
    return Invalid("workspaceConfig", "has no 'sources'; is this RudderStack's workspaceConfig.json?");
  }
  Json document = {{"sources", Json::array()},
                   {"destinations", Json::array()},
                   {"connections", Json::array()}};
  StringSet seen;
  const auto text = [](const Json& json, const char* key) {
    return json.is_object() && json.contains(key) && json[key].is_string()
               ? json[key].get<std::string>()
               : std::string();
  };
  MR_ASSIGN_OR_RETURN(const Json sources, ListOf(workspace_config, "sources"));
  for (const Json& source : sources) {
    const Json definition = source.value("sourceDefinition", Json::object());
    document["sources"].push_back({{"id", text(source, "id")},
                                   {"name", text(source, "name")},
                                   {"type", text(definition, "name")},
                                   {"category", text(definition, "category")},
                                   {"writeKey", text(source, "writeKey")},
                                   {"enabled", source.value("enabled", true)}});
    MR_ASSIGN_OR_RETURN(const Json destinations, ListOf(source, "destinations"));
    for (const Json& destination : destinations) {
      const std::string id = text(destination, "id");
      const std::string type = text(destination.value("destinationDefinition", Json::object()), "name");
      document["connections"].push_back(
          {{"source", text(source, "id")},
           {"destination", id},
           {"enabled", destination.value("isConnectionEnabled", true)}});
      if (!seen.insert(id).second) continue;
      const Json config = destination.value("config", Json::object());
      bool enabled = destination.value("enabled", true);
      if (const Status status = hooks.validate(type, config.dump()); !status.ok() && enabled) {
        enabled = false;
        warnings->push_back(fmt::format("destination '{}' comes disabled: {}",
                                        text(destination, "name"), Message(status)));
      }
      if (!destination.value("transformations", Json::array()).empty()) {
        warnings->push_back(fmt::format("destination '{}': its transformation is not taken over",
                                        text(destination, "name")));
      }
      document["destinations"].push_back({{"id", id},
                                          {"name", text(destination, "name")},
                                          {"type", type},
                                          {"enabled", enabled},
                                          {"config", config}});
    }
  }
  return document;
}

}  // namespace millrace::control_plane
