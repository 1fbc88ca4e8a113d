#include "services/control-plane/scripts.h"

#include <utility>

#include "services/control-plane/field_difference.h"
#include "services/control-plane/script_rules.h"
#include "services/control-plane/secret_mask.h"

namespace millrace::control_plane {
namespace {

using config::v1::LIBRARY;
using config::v1::PublishResponse;
using config::v1::RevisionResponse;
using config::v1::Script;
using config::v1::ScriptResponse;
using config::v1::ScriptType;
using config::v1::ScriptVersion;
using config::v1::TRANSFORMATION;

void AddPublished(ScriptType type, const Script& script, ScriptVersion version, bool changed,
                  PublishResponse* response) {
  auto* one = response->add_scripts();
  one->set_type(type);
  one->set_id(script.id());
  one->set_name(script.name());
  version.clear_code();
  version.set_published(true);
  *one->mutable_published() = std::move(version);
  one->set_changed(changed);
}

Status CheckType(ScriptType type) {
  if (type == TRANSFORMATION || type == LIBRARY) return OkStatus();
  return MakeStatus(StatusCode::kInvalidArgument, "type: must be TRANSFORMATION or LIBRARY");
}

}  // namespace

/// Checks and commits; what comes back of the check may quote what scripts have said.
Status Scripts::Settle(ScriptDraft* draft, uint64_t expected_revision) {
  if (Status checked = draft->Check(expected_revision); !checked.ok()) {
    return SecretMask(draft->workspace()).Apply(checked);
  }
  return draft->Commit();
}

StatusOr<Script> Scripts::View(const ScriptDraft& draft, ScriptType type, Script script,
                               bool with_code) {
  MR_ASSIGN_OR_RETURN(ScriptVersion latest, draft.FindVersion(script, ""));
  script.set_version_id(latest.id());
  if (const std::string* in_force = draft.InForce(type, script.id()); in_force != nullptr) {
    latest.set_published(latest.id() == *in_force);
    if (latest.published()) {
      *script.mutable_published() = latest;
    } else {
      MR_ASSIGN_OR_RETURN(*script.mutable_published(), draft.FindVersion(script, *in_force));
      script.mutable_published()->set_published(true);
    }
  }
  *script.mutable_latest() = std::move(latest);
  if (!with_code) {
    script.mutable_latest()->clear_code();
    if (script.has_published()) script.mutable_published()->clear_code();
  }
  if (type == LIBRARY) return script;
  for (const auto& one : draft.workspace().transformations()) {
    if (one.id() != script.id() || !one.has_shadow()) continue;
    script.mutable_shadow()->set_version_id(one.shadow().id());
    script.mutable_shadow()->set_number(one.shadow().number());
    script.mutable_shadow()->set_permille(one.shadow_permille());
  }
  for (const std::string& user : draft.UsedBy(script.id())) script.add_used_by(user);
  return script;
}

StatusOr<ScriptResponse> Scripts::Respond(ScriptType type, const Script& script, bool changed) {
  const ScriptDraft now(deps_);
  ScriptResponse response;
  MR_ASSIGN_OR_RETURN(Script found, now.Find(type, script.id()));
  MR_ASSIGN_OR_RETURN(*response.mutable_script(), View(now, type, std::move(found), true));
  response.set_revision(now.workspace().revision());
  response.set_changed(changed);
  return response;
}

StatusOr<config::v1::ListScriptsResponse> Scripts::List(
    const config::v1::ListScriptsRequest& request) {
  MR_RETURN_IF_ERROR(CheckType(request.type()));
  const ScriptDraft draft(deps_);
  MR_ASSIGN_OR_RETURN(auto rows, deps_.store.Scripts(request.type()));
  config::v1::ListScriptsResponse response;
  for (ScriptRow& row : rows) {
    MR_ASSIGN_OR_RETURN(*response.add_scripts(),
                        View(draft, row.type, std::move(row.script), false));
  }
  return response;
}

StatusOr<Script> Scripts::Get(const config::v1::ScriptKey& key) {
  MR_RETURN_IF_ERROR(CheckType(key.type()));
  const ScriptDraft draft(deps_);
  MR_ASSIGN_OR_RETURN(Script script, draft.Find(key.type(), key.id()));
  return View(draft, key.type(), std::move(script), true);
}

StatusOr<ScriptResponse> Scripts::Create(const config::v1::SaveScriptRequest& request) {
  MR_RETURN_IF_ERROR(CheckType(request.type()));
  ScriptDraft draft(deps_);
  MR_ASSIGN_OR_RETURN(const Script script, draft.Save(request, nullptr, nullptr));
  if (request.publish()) {
    MR_RETURN_IF_ERROR(draft.Publish(request.type(), script, script.latest()).status());
  }
  MR_RETURN_IF_ERROR(Settle(&draft, request.expected_revision()));
  return Respond(request.type(), script, true);
}

StatusOr<ScriptResponse> Scripts::Update(const config::v1::SaveScriptRequest& request) {
  MR_RETURN_IF_ERROR(CheckType(request.type()));
  ScriptDraft draft(deps_);
  MR_ASSIGN_OR_RETURN(const Script existing, draft.Find(request.type(), request.id()));
  MR_ASSIGN_OR_RETURN(const ScriptVersion latest, draft.FindVersion(existing, ""));
  MR_ASSIGN_OR_RETURN(const Script script, draft.Save(request, &existing, &latest));
  if (request.publish()) {
    MR_RETURN_IF_ERROR(draft.Publish(request.type(), script, script.latest()).status());
  }
  const bool changed = draft.changes_anything();
  MR_RETURN_IF_ERROR(Settle(&draft, request.expected_revision()));
  return Respond(request.type(), script, changed);
}

StatusOr<RevisionResponse> Scripts::Delete(const config::v1::ScriptKey& key) {
  MR_RETURN_IF_ERROR(CheckType(key.type()));
  ScriptDraft draft(deps_);
  MR_ASSIGN_OR_RETURN(const Script script, draft.Find(key.type(), key.id()));
  MR_RETURN_IF_ERROR(draft.Delete(key.type(), script));
  if (Status settled = Settle(&draft, 0); !settled.ok()) {
    // What is wrong is not the request but that others still import the library.
    if (settled.code() != StatusCode::kInvalidArgument) return settled;
    const auto faults = FaultsOf(settled);
    Status refused = Error(StatusCode::kFailedPrecondition, "{} '{}' is still needed: {}",
                           WordOf(key.type()), script.name(), Message(settled));
    return faults.faults().empty() ? refused : WithFaults(refused, faults);
  }
  RevisionResponse response;
  response.set_revision(deps_.config.Current()->revision());
  return response;
}

StatusOr<config::v1::ListScriptVersionsResponse> Scripts::ListVersions(
    const config::v1::ScriptKey& key) {
  MR_RETURN_IF_ERROR(CheckType(key.type()));
  const ScriptDraft draft(deps_);
  MR_ASSIGN_OR_RETURN(const Script script, draft.Find(key.type(), key.id()));
  MR_ASSIGN_OR_RETURN(auto versions, deps_.store.ScriptVersions(script.id()));
  const std::string* in_force = draft.InForce(key.type(), script.id());
  config::v1::ListScriptVersionsResponse response;
  for (ScriptVersion& version : versions) {
    version.set_published(in_force != nullptr && *in_force == version.id());
    *response.add_versions() = std::move(version);
  }
  return response;
}

StatusOr<ScriptVersion> Scripts::GetVersion(const config::v1::ScriptVersionKey& key) {
  MR_RETURN_IF_ERROR(CheckType(key.type()));
  const ScriptDraft draft(deps_);
  MR_ASSIGN_OR_RETURN(const Script script, draft.Find(key.type(), key.id()));
  MR_ASSIGN_OR_RETURN(ScriptVersion version, draft.FindVersion(script, key.version()));
  const std::string* in_force = draft.InForce(key.type(), script.id());
  version.set_published(in_force != nullptr && *in_force == version.id());
  return version;
}

StatusOr<PublishResponse> Scripts::Publish(const config::v1::PublishRequest& request) {
  if (request.scripts().empty()) {
    return MakeStatus(StatusCode::kInvalidArgument, "name at least one transformation or library");
  }
  ScriptDraft draft(deps_);
  PublishResponse response;
  StringSet named;
  for (const auto& key : request.scripts()) {
    MR_RETURN_IF_ERROR(CheckType(key.type()));
    MR_ASSIGN_OR_RETURN(const Script script, draft.Find(key.type(), key.id()));
    if (!named.insert(script.id()).second) {
      return Error(StatusCode::kInvalidArgument, "{} '{}' stands here twice", WordOf(key.type()),
                   script.name());
    }
    MR_ASSIGN_OR_RETURN(ScriptVersion version, draft.FindVersion(script, key.version()));
    MR_ASSIGN_OR_RETURN(const bool changed, draft.Publish(key.type(), script, version));
    AddPublished(key.type(), script, std::move(version), changed, &response);
  }
  MR_RETURN_IF_ERROR(Settle(&draft, request.expected_revision()));
  response.set_revision(draft.workspace().revision());
  return response;
}

StatusOr<PublishResponse> Scripts::Rollback(const config::v1::RollbackRequest& request) {
  MR_RETURN_IF_ERROR(CheckType(request.type()));
  ScriptDraft draft(deps_);
  MR_ASSIGN_OR_RETURN(const Script script, draft.Find(request.type(), request.id()));
  MR_ASSIGN_OR_RETURN(ScriptVersion version, draft.Rollback(request.type(), script));
  MR_RETURN_IF_ERROR(Settle(&draft, request.expected_revision()));
  PublishResponse response;
  AddPublished(request.type(), script, std::move(version), true, &response);
  response.set_revision(draft.workspace().revision());
  return response;
}

StatusOr<ScriptResponse> Scripts::SetShadow(const config::v1::SetShadowRequest& request) {
  ScriptDraft draft(deps_);
  MR_ASSIGN_OR_RETURN(const Script script, draft.Find(TRANSFORMATION, request.id()));
  MR_ASSIGN_OR_RETURN(const ScriptVersion version, draft.FindVersion(script, request.version()));
  MR_RETURN_IF_ERROR(draft.SetShadow(script, version, request.permille()));
  const bool changed = draft.changes_anything();
  MR_RETURN_IF_ERROR(Settle(&draft, 0));
  return Respond(TRANSFORMATION, script, changed);
}

StatusOr<ScriptResponse> Scripts::ClearShadow(const config::v1::ScriptKey& key) {
  ScriptDraft draft(deps_);
  MR_ASSIGN_OR_RETURN(const Script script, draft.Find(TRANSFORMATION, key.id()));
  draft.ClearShadow(script.id());
  const bool changed = draft.changes_anything();
  MR_RETURN_IF_ERROR(Settle(&draft, 0));
  return Respond(TRANSFORMATION, script, changed);
}

StatusOr<config::v1::ScriptReport> Scripts::GetReport(const config::v1::ScriptKey& key) {
  const ScriptDraft draft(deps_);
  MR_ASSIGN_OR_RETURN(const Script script, draft.Find(TRANSFORMATION, key.id()));
  (void)reader_.CatchUp(std::chrono::milliseconds(500));  // else it shows what was read so far
  MR_ASSIGN_OR_RETURN(auto report, deps_.store.Report(script.id()));
  report.set_name(script.name());
  MR_ASSIGN_OR_RETURN(const auto versions, deps_.store.ScriptVersions(script.id()));
  for (auto& one : *report.mutable_versions()) {
    for (const ScriptVersion& version : versions) {
      if (version.id() == one.version_id()) one.set_number(version.number());
    }
  }
  const SecretMask mask(draft.workspace());
  for (auto& log : *report.mutable_logs()) log.set_text(mask.Text(log.text()));
  for (auto& shadow : *report.mutable_shadows()) {
    for (auto& sample : *shadow.mutable_samples()) {
      for (auto& event : *sample.mutable_in_force_json()) event = mask.Json(event);
      for (auto& event : *sample.mutable_shadow_json()) event = mask.Json(event);
      sample.set_shadow_error(mask.Text(sample.shadow_error()));
      *sample.mutable_differences() = Differences(sample.in_force_json(), sample.shadow_json());
    }
  }
  return report;
}

StatusOr<config::v1::ListCredentialsResponse> Scripts::ListCredentials(
    const config::v1::ListCredentialsRequest&) {
  config::v1::ListCredentialsResponse response;
  for (const auto& credential : deps_.config.Current()->credentials()) {
    auto* one = response.add_credentials();
    one->set_key(credential.key());
    one->set_secret(credential.secret());
    one->set_value("***");
  }
  return response;
}

StatusOr<RevisionResponse> Scripts::SetCredential(const config::v1::SetCredentialRequest& request) {
  ScriptDraft draft(deps_);
  config::v1::Credential credential;
  credential.set_key(request.key());
  credential.set_value(request.value());
  credential.set_secret(!request.has_secret() || request.secret());
  MR_RETURN_IF_ERROR(draft.SetCredential(credential).status());
  MR_RETURN_IF_ERROR(Settle(&draft, 0));
  RevisionResponse response;
  response.set_revision(deps_.config.Current()->revision());
  return response;
}

StatusOr<RevisionResponse> Scripts::DeleteCredential(const config::v1::CredentialKey& key) {
  ScriptDraft draft(deps_);
  if (!draft.DeleteCredential(key.key())) {
    return Error(StatusCode::kNotFound, "there is no credential '{}'", key.key());
  }
  MR_RETURN_IF_ERROR(Settle(&draft, 0));
  RevisionResponse response;
  response.set_revision(deps_.config.Current()->revision());
  return response;
}

}  // namespace millrace::control_plane
