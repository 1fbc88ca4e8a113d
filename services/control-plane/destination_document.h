#pragma once

#include <nlohmann/json_fwd.hpp>

#include "libs/base/status.h"
#include "millrace/config/v1/workspace.pb.h"
#include "services/control-plane/document_entry.h"
#include "services/control-plane/script_draft.h"
#include "services/control-plane/workspace_document.h"

/// Destinations in documents.
namespace millrace::control_plane {

/// Sets what `entry` says of `destination`. kInvalidArgument says which field is wrong and how to
/// mend it.
Status FillDestination(Entry* entry, const DestinationHooks& hooks, const ScriptDraft& draft,
                       config::v1::Destination* destination);

/// Gives `destination`, which is new, what one of another type in its place had, but id,
/// configuration, and what waits for it.
void TakeOver(const config::v1::Destination& old, config::v1::Destination* destination);

/// As a document has it, without its chain.
nlohmann::json DestinationToJson(const config::v1::Destination& destination,
                                 const DestinationHooks& hooks);

}  // namespace millrace::control_plane
