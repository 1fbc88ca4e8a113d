#pragma once

#include "services/control-plane/log_reader.h"
#include "services/control-plane/script_draft.h"

namespace millrace::control_plane {

/// Transformations, libraries and credentials: the operations behind REST and gRPC alike. Owned by
/// the control plane; any thread. Each call is one change, all or nothing; of two that race one
/// gets kAborted.
///
/// Errors: kInvalidArgument (with faults, see FaultsOf, when code is wrong), kNotFound,
/// kAlreadyExists (a name), kFailedPrecondition (it cannot be done now, and why), kAborted (someone
/// else was faster). No answer and no message holds a credential's value.
class Scripts {
 public:
  Scripts(ScriptDeps deps, LogReader& reader) : deps_(std::move(deps)), reader_(reader) {}

  StatusOr<config::v1::ListScriptsResponse> List(const config::v1::ListScriptsRequest& request);
  StatusOr<config::v1::Script> Get(const config::v1::ScriptKey& key);
  StatusOr<config::v1::ScriptResponse> Create(const config::v1::SaveScriptRequest& request);
  StatusOr<config::v1::ScriptResponse> Update(const config::v1::SaveScriptRequest& request);
  StatusOr<config::v1::RevisionResponse> Delete(const config::v1::ScriptKey& key);
  StatusOr<config::v1::ListScriptVersionsResponse> ListVersions(const config::v1::ScriptKey& key);
  StatusOr<config::v1::ScriptVersion> GetVersion(const config::v1::ScriptVersionKey& key);
  StatusOr<config::v1::PublishResponse> Publish(const config::v1::PublishRequest& request);
  StatusOr<config::v1::PublishResponse> Rollback(const config::v1::RollbackRequest& request);
  StatusOr<config::v1::ScriptResponse> SetShadow(const config::v1::SetShadowRequest& request);
  StatusOr<config::v1::ScriptResponse> ClearShadow(const config::v1::ScriptKey& key);
  StatusOr<config::v1::ScriptReport> GetReport(const config::v1::ScriptKey& key);
  StatusOr<config::v1::ListCredentialsResponse> ListCredentials(
      const config::v1::ListCredentialsRequest& request);
  StatusOr<config::v1::RevisionResponse> SetCredential(
      const config::v1::SetCredentialRequest& request);
  StatusOr<config::v1::RevisionResponse> DeleteCredential(const config::v1::CredentialKey& key);

  const ScriptDeps& deps() const { return deps_; }

 private:
  Status Settle(ScriptDraft* draft, uint64_t expected_revision);
  StatusOr<config::v1::Script> View(const ScriptDraft& draft, config::v1::ScriptType type,
                                    config::v1::Script script, bool with_code);
  StatusOr<config::v1::ScriptResponse> Respond(config::v1::ScriptType type,
                                               const config::v1::Script& script, bool changed);

  const ScriptDeps deps_;
  LogReader& reader_;
};

}  // namespace millrace::control_plane
