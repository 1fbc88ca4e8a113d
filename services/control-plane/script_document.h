#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "services/control-plane/document_entry.h"
#include "services/control-plane/script_draft.h"
#include "services/control-plane/workspace_document.h"

namespace millrace::control_plane {

/// The part of a document (see ApplyDocument) that holds libraries, transformations and
/// credentials. Made and used within one call.
class ScriptDocument {
 public:
  ScriptDocument(const nlohmann::json& document, ScriptDraft* draft,
                 std::vector<PlannedChange>* plan)
      : document_(document), draft_(draft), plan_(plan) {}

  /// Makes what is not there, and puts a new version in force of what differs from the one in
  /// force.
  Status Apply();
  /// Deletes what the lists do not name; of a list that the document does not have, nothing. After
  /// the chains are as they will be.
  Status Prune();

 private:
  Status ApplyScript(const nlohmann::json& json, const std::string& where,
                     config::v1::ScriptType type);
  Status ApplyCredential(const nlohmann::json& json, const std::string& where);
  Status PruneScripts(config::v1::ScriptType type);

  const nlohmann::json& document_;
  ScriptDraft* draft_;
  std::vector<PlannedChange>* plan_;
  StringMap<StringSet> named_;  // ids or keys, by list
};

/// Reads `transformations` of an entry into its chain: names or ids, or {name, version}. Without
/// the key the chain stays.
Status FillChain(Entry* entry, const ScriptDraft& draft,
                 google::protobuf::RepeatedPtrField<config::v1::TransformationRef>* chain);

/// The same form, under `transformations` of `entity`; nothing for an empty chain.
void AddChain(const config::v1::Workspace& workspace,
              const google::protobuf::RepeatedPtrField<config::v1::TransformationRef>& chain,
              nlohmann::json* entity);

/// What is in force, as lists of the document; values of credentials masked.
void AddScripts(const config::v1::Workspace& workspace, nlohmann::json* document);

/// The list under `key` of a document, or an empty one.
StatusOr<nlohmann::json> ListOf(const nlohmann::json& document, const char* key);

}  // namespace millrace::control_plane
