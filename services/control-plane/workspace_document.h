#pragma once

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "millrace/config/v1/workspace.pb.h"

namespace millrace::control_plane {

class ScriptDraft;

/// What the control plane asks of destination types; the catalogue answers.
struct DestinationHooks {
  /// kNotFound: no such type; kInvalidArgument: the configuration does not fit, with key and mend.
  std::function<Status(std::string_view type, std::string_view config_json)> validate;
  /// The configuration with secrets masked.
  std::function<std::string(std::string_view type, std::string_view config_json)> mask;
  /// Whether the warehouse loader reads what comes for this type, and not the router.
  std::function<bool(std::string_view type)> is_warehouse;
};

/// One line of a plan.
struct PlannedChange {
  std::string action;  // create | update | unchanged | delete
  std::string kind;    // source | destination | connection | transformation | library | credential
  std::string name;
  std::string id;
};

/// Changes `draft` to what a document asks for: {sources: [{name, type, writeKey, enabled,
/// config}], destinations: [{name, type, enabled, paused, share, config}], connections: [{source,
/// destination, enabled}], each with `transformations`, its chain; transformations: [{name, kind,
/// code, libraries, limits}], libraries:
/// [{name, importName, code}], credentials: [{key, value, secret}]}.
/// Entities are matched by `id` or else by `name`. A destination that is named by its name alone
/// and given another type becomes a new one in place of the old, which is deleted. What the
/// document does not name stays, or with `prune` goes (transformations, libraries and credentials
/// only when the document has that list). A secret that comes masked ("***...") keeps its stored
/// value.
///
/// kInvalidArgument says which entry and field is wrong and how to mend it; then `draft` may have
/// been changed in part and must be thrown away.
StatusOr<std::vector<PlannedChange>> ApplyDocument(const nlohmann::json& document,
                                                   const DestinationHooks& hooks, bool prune,
                                                   ScriptDraft* draft);

/// Deletes the entity of `kind` (sources, destinations or connections) and, with a source or
/// destination, its connections.
std::vector<PlannedChange> DeleteEntity(std::string_view kind, const std::string& id,
                                        config::v1::Workspace* workspace);

/// The same form, secrets masked.
nlohmann::json ToDocument(const config::v1::Workspace& workspace, const DestinationHooks& hooks);

/// Whether there is a transformation of this name with a version in force.
using TransformationKnown = std::function<bool(const std::string& name)>;

/// A document out of RudderStack's workspaceConfig.json. What cannot be taken over is named in
/// `warnings`, with what to do; destinations of unknown types come disabled.
StatusOr<nlohmann::json> DocumentFromRudderStack(const nlohmann::json& workspace_config,
                                                 const DestinationHooks& hooks,
                                                 const TransformationKnown& known,
                                                 std::vector<std::string>* warnings);

}  // namespace millrace::control_plane
