#include "services/control-plane/workspace_document.h"

#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "libs/base/ids.h"
#include "libs/base/string_map.h"
#include "services/control-plane/destination_document.h"
#include "services/control-plane/document_entry.h"
#include "services/control-plane/script_document.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;
using config::v1::Connection;
using config::v1::Destination;
using config::v1::Source;
using config::v1::Workspace;
using google::protobuf::util::MessageDifferencer;

/// Ids become parts of topic names.
Status CheckId(const std::string& where, const std::string& id) {
  const bool good = id.size() <= 100 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
                    });
  if (good) return OkStatus();
  return Invalid(where,
                 fmt::format("id '{}' must be at most 100 letters, digits, '_', '-' or '.'", id));
}

template <typename List>
typename List::value_type* FindById(List* list, const std::string& id) {
  for (auto& entity : *list) {
    if (entity.id() == id) return &entity;
  }
  return nullptr;
}

/// Null when there is none; kInvalidArgument when several have the name.
template <typename List>
StatusOr<typename List::value_type*> FindByName(const std::string& where, List* list,
                                                const std::string& name) {
  typename List::value_type* found = nullptr;
  for (auto& entity : *list) {
    if (entity.name() != name) continue;
    if (found != nullptr) {
      return Invalid(where, fmt::format("several are named '{}'; say which by 'id'", name));
    }
    found = &entity;
  }
  return found;
}

/// Finds or makes the entity that `json` is about, lets `fill` set its fields, and adds to the
/// plan.
template <typename List, typename Fill>
Status ApplyEntity(const Json& json, const std::string& kind, size_t index,
                   std::string_view id_prefix, List* list, StringSet* named,
                   std::vector<PlannedChange>* plan, Fill fill) {
  Entry entry(json, fmt::format("{}s[{}]", kind, index));
  std::string id, name;
  MR_RETURN_IF_ERROR(entry.Text("id", &id));
  MR_RETURN_IF_ERROR(entry.Text("name", &name));
  if (id.empty() && name.empty()) return Invalid(entry.where(), "needs a 'name' or an 'id'");
  MR_RETURN_IF_ERROR(CheckId(entry.where(), id));
  auto* entity = FindById(list, id);
  if (id.empty()) {
    MR_ASSIGN_OR_RETURN(entity, FindByName(entry.where(), list, name));
  }
  const bool fresh = entity == nullptr;
  typename List::value_type before;
  if (fresh) {
    entity = list->Add();
    entity->set_id(id.empty() ? NewId(id_prefix) : id);
    entity->set_enabled(true);
  } else {
    before = *entity;
  }
  if (!named->insert(entity->id()).second) {
    return Invalid(entry.where(), fmt::format("{} '{}' stands here twice", kind, entity->name()));
  }
  if (!name.empty()) entity->set_name(name);
  if (entity->name().empty()) entity->set_name(entity->id());
  MR_RETURN_IF_ERROR(fill(&entry, entity));
  const bool same = !fresh && MessageDifferencer::Equals(before, *entity);
  if constexpr (requires { entity->set_revision(""); }) {
    if (!same) entity->set_revision(NewId("rev_"));
  }
  plan->push_back({.action = fresh  ? "create"
                             : same ? "unchanged"
                                    : "update",
                   .kind = kind,
                   .name = entity->name(),
                   .id = entity->id()});
  return OkStatus();
}

template <typename List, typename Name>
void DeleteIf(List* list, const std::string& kind, std::vector<PlannedChange>* plan, Name name_of,
              const std::function<bool(const typename List::value_type&)>& wanted) {
  List kept;
  for (auto& entity : *list) {
    if (wanted(entity)) {
      plan->push_back(
          {.action = "delete", .kind = kind, .name = name_of(entity), .id = entity.id()});
    } else {
      kept.Add()->Swap(&entity);
    }
  }
  list->Swap(&kept);
}

/// Deletes what `goes` picks by kind and id, and the connections that hang on it.
std::vector<PlannedChange> DeleteEntities(
    const std::function<bool(std::string_view kind, const std::string& id)>& goes,
    Workspace* workspace) {
  std::vector<PlannedChange> plan;
  StringMap<std::string> names;
  for (const Source& source : workspace->sources()) names[source.id()] = source.name();
  for (const Destination& destination : workspace->destinations()) {
    names[destination.id()] = destination.name();
  }
  DeleteIf(
      workspace->mutable_connections(), "connection", &plan,
      [&](const Connection& one) {
        return names[one.source_id()] + " -> " + names[one.destination_id()];
      },
      [&](const Connection& one) {
        return goes("connections", one.id()) || goes("sources", one.source_id()) ||
               goes("destinations", one.destination_id());
      });
  const auto name_of = [](const auto& entity) { return entity.name(); };
  DeleteIf(workspace->mutable_destinations(), "destination", &plan, name_of,
           [&](const Destination& one) { return goes("destinations", one.id()); });
  DeleteIf(workspace->mutable_sources(), "source", &plan, name_of,
           [&](const Source& one) { return goes("sources", one.id()); });
  return plan;
}

Status FillSource(Entry* entry, const ScriptDraft& draft, Source* source) {
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
      if (!one.is_string() || one.get_ref<const std::string&>().empty()) {
        return Invalid(entry->where(), "'writeKeys' must be a list of texts");
      }
      source->add_write_keys(one.get<std::string>());
    }
  }
  if (source->write_keys().empty()) source->add_write_keys(NewId(""));
  if (const Json* config = entry->Any("config"); config != nullptr) {
    if (!config->is_object()) return Invalid(entry->where(), "'config' must hold keys and values");
    source->set_config_json(config->empty() ? "" : config->dump());
  }
  MR_RETURN_IF_ERROR(FillChain(entry, draft, source->mutable_transformations()));
  return entry->RefuseOthers();
}

/// The destination that a document names by name alone and gives another type: taken out of the
/// workspace, as one of another type is another destination. Of one named by its id that is
/// refused.
StatusOr<std::optional<Destination>> TakeOutOfOtherType(const Json& json, size_t index,
                                                        Workspace* workspace) {
  Entry entry(json, fmt::format("destinations[{}]", index));
  std::string id, name, type;
  MR_RETURN_IF_ERROR(entry.Text("id", &id));
  MR_RETURN_IF_ERROR(entry.Text("name", &name));
  MR_RETURN_IF_ERROR(entry.Text("type", &type));
  auto* list = workspace->mutable_destinations();
  Destination* held = FindById(list, id);
  if (id.empty()) {
    MR_ASSIGN_OR_RETURN(held, FindByName(entry.where(), list, name));
  }
  if (held == nullptr || type.empty() || type == held->type()) return std::nullopt;
  if (!id.empty()) {
    return Invalid(entry.where(),
                   fmt::format("destination '{}' (id {}) is of type {} and cannot become one of "
                               "type {}; delete it and make one with another id",
                               held->name(), id, held->type(), type));
  }
  std::optional<Destination> taken = *held;
  list->erase(std::find_if(list->begin(), list->end(),
                           [&](const Destination& one) { return one.id() == taken->id(); }));
  return taken;
}

Status ApplyDestination(const Json& json, size_t index, const DestinationHooks& hooks,
                        ScriptDraft* draft, StringSet* named, std::vector<PlannedChange>* plan) {
  Workspace* workspace = &draft->workspace();
  MR_ASSIGN_OR_RETURN(const auto replaced, TakeOutOfOtherType(json, index, workspace));
  MR_RETURN_IF_ERROR(ApplyEntity(json, "destination", index, "dst_",
                                 workspace->mutable_destinations(), named, plan,
                                 [&](Entry* entry, Destination* destination) {
                                   if (replaced.has_value()) TakeOver(*replaced, destination);
                                   return FillDestination(entry, hooks, *draft, destination);
                                 }));
  if (!replaced.has_value()) return OkStatus();
  for (Connection& connection : *workspace->mutable_connections()) {
    if (connection.destination_id() == replaced->id())
      connection.set_destination_id(plan->back().id);
  }
  plan->push_back(
      {.action = "delete", .kind = "destination", .name = replaced->name(), .id = replaced->id()});
  return OkStatus();
}

/// The entity that a connection names by id or by name.
template <typename List>
StatusOr<typename List::value_type*> EndOf(const Entry& entry, const char* kind, List* list,
                                           const std::string& id_or_name) {
  if (auto* by_id = FindById(list, id_or_name); by_id != nullptr) return by_id;
  MR_ASSIGN_OR_RETURN(auto* by_name, FindByName(entry.where(), list, id_or_name));
  if (by_name == nullptr) {
    return Invalid(
        entry.where(),
        fmt::format("there is no {0} '{1}'; add it to {0}s, or name another", kind, id_or_name));
  }
  return by_name;
}

Status ApplyConnection(const Json& json, size_t index, ScriptDraft* draft, StringSet* named,
                       std::vector<PlannedChange>* plan) {
  Workspace* workspace = &draft->workspace();
  Entry entry(json, fmt::format("connections[{}]", index));
  std::string id, source_name, destination_name;
  MR_RETURN_IF_ERROR(entry.Text("id", &id));
  MR_RETURN_IF_ERROR(CheckId(entry.where(), id));
  MR_RETURN_IF_ERROR(entry.Text("source", &source_name));
  MR_RETURN_IF_ERROR(entry.Text("destination", &destination_name));
  if (const Connection* held = FindById(workspace->mutable_connections(), id); held != nullptr) {
    if (source_name.empty()) source_name = held->source_id();
    if (destination_name.empty()) destination_name = held->destination_id();
  }
  MR_ASSIGN_OR_RETURN(const Source* source,
                      EndOf(entry, "source", workspace->mutable_sources(), source_name));
  MR_ASSIGN_OR_RETURN(
      const Destination* destination,
      EndOf(entry, "destination", workspace->mutable_destinations(), destination_name));
  Connection* connection = nullptr;
  for (Connection& one : *workspace->mutable_connections()) {
    const bool same_ends =
        one.source_id() == source->id() && one.destination_id() == destination->id();
    if (same_ends)
      connection = &one;
    else if (one.id() == id) {
      return Invalid(entry.where(), fmt::format("id '{}' is that of another connection", id));
    }
  }
  const bool fresh = connection == nullptr;
  Connection before;
  if (fresh) {
    connection = workspace->add_connections();
    connection->set_id(id.empty() ? NewId("conn_") : id);
    connection->set_source_id(source->id());
    connection->set_destination_id(destination->id());
    connection->set_enabled(true);
  } else {
    before = *connection;
  }
  const std::string name = source->name() + " -> " + destination->name();
  if (!named->insert(connection->id()).second) {
    return Invalid(entry.where(), fmt::format("connection '{}' stands here twice", name));
  }
  bool enabled = connection->enabled();
  MR_RETURN_IF_ERROR(entry.Flag("enabled", &enabled));
  connection->set_enabled(enabled);
  MR_RETURN_IF_ERROR(FillChain(&entry, *draft, connection->mutable_transformations()));
  const bool same = !fresh && MessageDifferencer::Equals(before, *connection);
  plan->push_back({.action = fresh  ? "create"
                             : same ? "unchanged"
                                    : "update",
                   .kind = "connection",
                   .name = name,
                   .id = connection->id()});
  return entry.RefuseOthers();
}

Status CheckWriteKeys(const Workspace& workspace) {
  StringMap<std::string> owners;
  for (const Source& source : workspace.sources()) {
    for (const std::string& key : source.write_keys()) {
      const auto [found, fresh] = owners.try_emplace(key, source.name());
      if (!fresh) {
        return Invalid(fmt::format("source '{}'", source.name()),
                       fmt::format("its write key is also that of source '{}'; give each its own",
                                   found->second));
      }
    }
  }
  return OkStatus();
}

}  // namespace

StatusOr<std::vector<PlannedChange>> ApplyDocument(const Json& document,
                                                   const DestinationHooks& hooks, bool prune,
                                                   ScriptDraft* draft) {
  if (!document.is_object())
    return Invalid("workspace", "must hold sources, destinations, connections");
  Entry root(document, "workspace");
  for (const char* key :
       {"sources", "destinations", "connections", "transformations", "libraries", "credentials"}) {
    root.Any(key);
  }
  MR_RETURN_IF_ERROR(root.RefuseOthers());
  Workspace* workspace = &draft->workspace();
  std::vector<PlannedChange> plan;
  StringMap<StringSet> named;  // by kind
  ScriptDocument scripts(document, draft, &plan);
  MR_RETURN_IF_ERROR(scripts.Apply());
  MR_ASSIGN_OR_RETURN(const Json sources, ListOf(document, "sources"));
  for (size_t i = 0; i < sources.size(); ++i) {
    MR_RETURN_IF_ERROR(ApplyEntity(
        sources[i], "source", i, "src_", workspace->mutable_sources(), &named["sources"], &plan,
        [draft](Entry* entry, Source* source) { return FillSource(entry, *draft, source); }));
  }
  MR_ASSIGN_OR_RETURN(const Json destinations, ListOf(document, "destinations"));
  for (size_t i = 0; i < destinations.size(); ++i) {
    MR_RETURN_IF_ERROR(
        ApplyDestination(destinations[i], i, hooks, draft, &named["destinations"], &plan));
  }
  MR_ASSIGN_OR_RETURN(const Json connections, ListOf(document, "connections"));
  for (size_t i = 0; i < connections.size(); ++i) {
    MR_RETURN_IF_ERROR(ApplyConnection(connections[i], i, draft, &named["connections"], &plan));
  }
  if (prune) {
    const auto deleted =
        DeleteEntities([&named](std::string_view kind,
                                const std::string& id) { return !named[kind].contains(id); },
                       workspace);
    plan.insert(plan.end(), deleted.begin(), deleted.end());
    MR_RETURN_IF_ERROR(scripts.Prune());
  }
  MR_RETURN_IF_ERROR(CheckWriteKeys(*workspace));
  return plan;
}

std::vector<PlannedChange> DeleteEntity(std::string_view kind, const std::string& id,
                                        Workspace* workspace) {
  return DeleteEntities(
      [&](std::string_view one, const std::string& its_id) { return one == kind && its_id == id; },
      workspace);
}

Json ToDocument(const Workspace& workspace, const DestinationHooks& hooks) {
  Json document = {
      {"sources", Json::array()}, {"destinations", Json::array()}, {"connections", Json::array()}};
  for (const Source& source : workspace.sources()) {
    Json one = {{"id", source.id()},
                {"name", source.name()},
                {"type", source.type()},
                {"enabled", source.enabled()},
                {"writeKeys", Json::array()}};
    for (const std::string& key : source.write_keys()) one["writeKeys"].push_back(key);
    if (!source.category().empty()) one["category"] = source.category();
    if (source.dedup_window_s() != 0) one["dedupWindowSeconds"] = source.dedup_window_s();
    if (!source.config_json().empty()) {
      one["config"] = Json::parse(source.config_json(), nullptr, false);
    }
    AddChain(workspace, source.transformations(), &one);
    document["sources"].push_back(std::move(one));
  }
  for (const Destination& destination : workspace.destinations()) {
    document["destinations"].push_back(DestinationToJson(destination, hooks));
    AddChain(workspace, destination.transformations(), &document["destinations"].back());
  }
  for (const Connection& connection : workspace.connections()) {
    document["connections"].push_back({{"id", connection.id()},
                                       {"source", connection.source_id()},
                                       {"destination", connection.destination_id()},
                                       {"enabled", connection.enabled()}});
    AddChain(workspace, connection.transformations(), &document["connections"].back());
  }
  AddScripts(workspace, &document);
  return document;
}

}  // namespace millrace::control_plane
