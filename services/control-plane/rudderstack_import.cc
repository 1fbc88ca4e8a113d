#include <nlohmann/json.hpp>

#include "libs/base/string_map.h"
#include "services/control-plane/workspace_document.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;

std::string Text(const Json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if (!json.is_object() || found == json.end() || !found->is_string()) return {};
  return found->get<std::string>();
}

bool Flag(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() || !found->is_boolean() || found->get<bool>();
}

Json Member(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() || !found->is_object() ? Json::object() : *found;
}

/// The objects of the list under `key`.
std::vector<Json> Objects(const Json& json, const char* key) {
  std::vector<Json> objects;
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array()) return objects;
  for (const Json& one : *found) {
    if (one.is_object()) objects.push_back(one);
  }
  return objects;
}

Json DestinationEntry(const Json& destination, const DestinationHooks& hooks,
                      std::vector<std::string>* warnings) {
  const std::string name = Text(destination, "name");
  const std::string type = Text(Member(destination, "destinationDefinition"), "name");
  Json config = Member(destination, "config");
  config.update(Member(destination, "secretConfig"));
  bool enabled = Flag(destination, "enabled");
  if (const Status status = hooks.validate(type, config.dump()); !status.ok() && enabled) {
    enabled = false;
    warnings->push_back(fmt::format("destination '{}' comes disabled: {}", name, Message(status)));
  }
  if (!Objects(destination, "transformations").empty()) {
    warnings->push_back(fmt::format("destination '{}': its transformation is not taken over", name));
  }
  return {{"id", Text(destination, "id")}, {"name", name}, {"type", type},
          {"enabled", enabled}, {"config", std::move(config)}};
}

}  // namespace

StatusOr<Json> DocumentFromRudderStack(const Json& workspace_config, const DestinationHooks& hooks,
                                       std::vector<std::string>* warnings) {
  if (!workspace_config.is_object()) {
    return MakeStatus(StatusCode::kInvalidArgument, "workspaceConfig: must hold keys and values");
  }
  const Json* root = &workspace_config;
  // With fetchAll the workspaces stand by their ids.
  if (!root->contains("sources") && root->size() == 1 && root->front().is_object()) {
    root = &root->front();
  }
  const auto sources = root->find("sources");
  if (sources == root->end() || !sources->is_array()) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "workspaceConfig: has no list 'sources'; is this RudderStack's workspaceConfig.json?");
  }
  Json document = {{"sources", Json::array()},
                   {"destinations", Json::array()},
                   {"connections", Json::array()}};
  StringSet seen;
  for (const Json& source : Objects(*root, "sources")) {
    const Json definition = Member(source, "sourceDefinition");
    const std::string source_id = Text(source, "id");
    document["sources"].push_back({{"id", source_id},
                                   {"name", Text(source, "name")},
                                   {"type", Text(definition, "name")},
                                   {"category", Text(definition, "category")},
                                   {"writeKey", Text(source, "writeKey")},
                                   {"enabled", Flag(source, "enabled")}});
    for (const Json& destination : Objects(source, "destinations")) {
      const std::string id = Text(destination, "id");
      document["connections"].push_back({{"source", source_id},
                                         {"destination", id},
                                         {"enabled", Flag(destination, "isConnectionEnabled") &&
                                                     Flag(destination, "isProcessorEnabled")}});
      if (!seen.insert(id).second) continue;
      document["destinations"].push_back(DestinationEntry(destination, hooks, warnings));
    }
  }
  if (!Objects(*root, "libraries").empty()) {
    warnings->push_back("libraries of transformations are not taken over");
  }
  return document;
}

}  // namespace millrace::control_plane
