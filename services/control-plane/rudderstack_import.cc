#include <nlohmann/json.hpp>

#include <algorithm>

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
  return {{"id", Text(destination, "id")},
          {"name", name},
          {"type", type},
          {"enabled", enabled},
          {"config", std::move(config)}};
}

/// The destination's chain. Of a transformation there are mostly the ids only; it is attached when
/// it is here already, under its id there. Else the destination comes disabled, so that it gets
/// nothing that the transformation would have taken out, and the warning says how to bring it.
Json ChainOf(const Json& destination, const TransformationKnown& known, Json* transformations,
             std::vector<std::string>* warnings, Json* entry) {
  Json chain = Json::array();
  for (const Json& one : Objects(destination, "transformations")) {
    const std::string destination_name = Text(destination, "name");
    std::string id = Text(one, "id");
    if (id.empty()) id = Text(one, "versionId");
    const std::string language = Text(one, "language");
    if (!language.empty() && language != "javascript") {
      (*entry)["enabled"] = false;
      warnings->push_back(fmt::format(
          "destination '{}' comes disabled: its transformation {} is in {} and cannot run "
          "here; write it anew in JavaScript, attach it to the destination, and enable that",
          destination_name, id, language));
      continue;
    }
    if (const std::string code = Text(one, "code"); !code.empty()) {
      const std::string name = Text(one, "name").empty() ? id : Text(one, "name");
      const bool fresh = std::none_of(transformations->begin(), transformations->end(),
                                      [&](const Json& held) { return held["name"] == name; });
      if (fresh) transformations->push_back({{"name", name}, {"code", code}});
      chain.push_back(name);
      continue;
    }
    if (known && known(id)) {
      chain.push_back(id);
      continue;
    }
    (*entry)["enabled"] = false;
    warnings->push_back(
        fmt::format("destination '{0}' comes disabled: of its transformation {1} "
                    "workspaceConfig.json holds only the ids. Get the code by "
                    "'curl -u EMAIL:ACCESS_TOKEN "
                    "https://api.rudderstack.com/transformations/{1}/versions/{2}', save it as "
                    "transformations/{1}/transformation.js, run 'millrace transform deploy "
                    "transformations --publish' and import "
                    "again: then it is attached and the destination enabled",
                    destination_name, id, Text(one, "versionId")));
  }
  return chain;
}

}  // namespace

StatusOr<Json> DocumentFromRudderStack(const Json& workspace_config, const DestinationHooks& hooks,
                                       const TransformationKnown& known,
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
    return MakeStatus(
        StatusCode::kInvalidArgument,
        "workspaceConfig: has no list 'sources'; is this RudderStack's workspaceConfig.json?");
  }
  Json document = {
      {"sources", Json::array()}, {"destinations", Json::array()}, {"connections", Json::array()}};
  Json transformations = Json::array();
  StringSet seen;
  for (const Json& source : Objects(*root, "sources")) {
    const Json definition = Member(source, "sourceDefinition");
    const std::string source_id = Text(source, "id");
    document["sources"].push_back({{"id", source_id},
                                   {"name", Text(source, "name")},
                                   {"type", Text(definition, "name")},
                                   {"category", Text(definition, "category")},
                                   {"writeKey", Text(source, "writeKey")},
                                   {"enabled", Flag(source, "enabled")},
                                   {"config", Member(source, "config")}});
    for (const Json& destination : Objects(source, "destinations")) {
      const std::string id = Text(destination, "id");
      document["connections"].push_back({{"source", source_id},
                                         {"destination", id},
                                         {"enabled", Flag(destination, "isConnectionEnabled") &&
                                                         Flag(destination, "isProcessorEnabled")}});
      if (!seen.insert(id).second) continue;
      document["destinations"].push_back(DestinationEntry(destination, hooks, warnings));
      Json& entry = document["destinations"].back();
      Json chain = ChainOf(destination, known, &transformations, warnings, &entry);
      if (!chain.empty()) entry["transformations"] = std::move(chain);
    }
  }
  if (!transformations.empty()) document["transformations"] = std::move(transformations);
  if (const auto libraries = Objects(*root, "libraries"); !libraries.empty()) {
    warnings->push_back(fmt::format(
        "of its {} libraries workspaceConfig.json holds only the ids. 'curl -u EMAIL:ACCESS_TOKEN "
        "https://api.rudderstack.com/libraries' shows importName and code of each; save those that "
        "your transformations "
        "import as transformations/libraries/IMPORT_NAME.js before 'millrace transform deploy'",
        libraries.size()));
  }
  return document;
}

}  // namespace millrace::control_plane
