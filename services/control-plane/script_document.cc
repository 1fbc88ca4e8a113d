#include "services/control-plane/script_document.h"

#include "services/control-plane/message_json.h"
#include "services/control-plane/script_rules.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;
using config::v1::LIBRARY;
using config::v1::Script;
using config::v1::ScriptType;
using config::v1::ScriptVersion;
using config::v1::TRANSFORMATION;

const char* ListNameOf(ScriptType type) {
  return type == LIBRARY ? "libraries" : "transformations";
}

/// Keys that the command line replaces before it sends the document.
Status RefuseLocal(const Json& json, const std::string& where, const char* key,
                   const char* instead) {
  if (!json.contains(key)) return OkStatus();
  return Invalid(
      where,
      fmt::format("'{}' is read by 'millrace apply', not by the server; send '{}'", key, instead));
}

}  // namespace

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

Status ScriptDocument::Apply() {
  MR_ASSIGN_OR_RETURN(const Json credentials, ListOf(document_, "credentials"));
  for (size_t i = 0; i < credentials.size(); ++i) {
    MR_RETURN_IF_ERROR(ApplyCredential(credentials[i], fmt::format("credentials[{}]", i)));
  }
  for (const ScriptType type : {LIBRARY, TRANSFORMATION}) {
    const char* name = ListNameOf(type);
    MR_ASSIGN_OR_RETURN(const Json list, ListOf(document_, name));
    for (size_t i = 0; i < list.size(); ++i) {
      MR_RETURN_IF_ERROR(ApplyScript(list[i], fmt::format("{}[{}]", name, i), type));
    }
  }
  return OkStatus();
}

Status ScriptDocument::ApplyScript(const Json& json, const std::string& where, ScriptType type) {
  MR_RETURN_IF_ERROR(RefuseLocal(json, where, "file", "code"));
  config::v1::SaveScriptRequest request;
  MR_RETURN_IF_ERROR(JsonToMessage(json, where, &request));
  request.set_type(type);
  const bool publish = !json.contains("publish") || request.publish();
  std::string handle = !request.id().empty() ? request.id() : request.name();
  if (handle.empty()) handle = request.import_name();
  if (handle.empty()) return Invalid(where, "needs a 'name'");
  auto existing = draft_->Find(type, handle);
  if (!existing.ok() && existing.status().code() != StatusCode::kNotFound) return existing.status();
  const size_t before = draft_->changes();
  StatusOr<Script> saved = Script();
  if (!existing.ok()) {
    if (!request.has_name()) request.set_name(handle);
    saved = draft_->Save(request, nullptr, nullptr);
  } else {
    const std::string* in_force = publish ? draft_->InForce(type, existing->id()) : nullptr;
    MR_ASSIGN_OR_RETURN(const ScriptVersion base,
                        draft_->FindVersion(*existing, in_force == nullptr ? "" : *in_force));
    saved = draft_->Save(request, &*existing, &base);
  }
  if (!saved.ok()) return Annotate(saved.status(), where);
  if (!named_[ListNameOf(type)].insert(saved->id()).second) {
    return Invalid(where, fmt::format("{} '{}' stands here twice", WordOf(type), saved->name()));
  }
  if (publish) MR_RETURN_IF_ERROR(draft_->Publish(type, *saved, saved->latest()).status());
  plan_->push_back({.action = !existing.ok()                ? "create"
                              : draft_->changes() == before ? "unchanged"
                                                            : "update",
                    .kind = std::string(WordOf(type)),
                    .name = saved->name()});
  return OkStatus();
}

Status ScriptDocument::ApplyCredential(const Json& json, const std::string& where) {
  MR_RETURN_IF_ERROR(RefuseLocal(json, where, "valueFrom", "value"));
  config::v1::SetCredentialRequest request;
  MR_RETURN_IF_ERROR(JsonToMessage(json, where, &request));
  const auto& held = draft_->workspace().credentials();
  const bool fresh = std::none_of(held.begin(), held.end(),
                                  [&](const auto& one) { return one.key() == request.key(); });
  config::v1::Credential credential;
  credential.set_key(request.key());
  credential.set_value(request.value());
  credential.set_secret(!request.has_secret() || request.secret());
  const auto changed = draft_->SetCredential(credential);
  if (!changed.ok()) return Annotate(changed.status(), where);
  if (!named_["credentials"].insert(request.key()).second) {
    return Invalid(where, fmt::format("credential '{}' stands here twice", request.key()));
  }
  plan_->push_back({.action = fresh      ? "create"
                              : *changed ? "update"
                                         : "unchanged",
                    .kind = "credential",
                    .name = request.key()});
  return OkStatus();
}

Status ScriptDocument::Prune() {
  for (const ScriptType type : {TRANSFORMATION, LIBRARY}) MR_RETURN_IF_ERROR(PruneScripts(type));
  if (!document_.contains("credentials")) return OkStatus();
  std::vector<std::string> keys;
  for (const auto& credential : draft_->workspace().credentials()) keys.push_back(credential.key());
  for (const std::string& key : keys) {
    if (named_["credentials"].contains(key)) continue;
    draft_->DeleteCredential(key);
    plan_->push_back({.action = "delete", .kind = "credential", .name = key});
  }
  return OkStatus();
}

Status ScriptDocument::PruneScripts(ScriptType type) {
  if (!document_.contains(ListNameOf(type))) return OkStatus();
  MR_ASSIGN_OR_RETURN(const auto stored, draft_->Stored(type));
  for (const Script& script : stored) {
    if (named_[ListNameOf(type)].contains(script.id())) continue;
    MR_RETURN_IF_ERROR(draft_->Delete(type, script));
    plan_->push_back(
        {.action = "delete", .kind = std::string(WordOf(type)), .name = script.name()});
  }
  return OkStatus();
}

Status FillChain(Entry* entry, const ScriptDraft& draft,
                 google::protobuf::RepeatedPtrField<config::v1::TransformationRef>* chain) {
  const Json* list = entry->Any("transformations");
  if (list == nullptr) return OkStatus();
  const std::string where = entry->where() + ".transformations";
  if (!list->is_array()) return Invalid(where, "must be a list of names, or of {name, version}");
  chain->Clear();
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string place = fmt::format("{}[{}]", where, i);
    config::v1::LibraryUse use;  // {name, version}, or a name alone
    MR_RETURN_IF_ERROR(JsonToMessage((*list)[i], place, &use));
    auto ref = draft.Refer(use.name(), use.version());
    if (!ref.ok()) return Annotate(ref.status(), place);
    *chain->Add() = *std::move(ref);
  }
  return OkStatus();
}

void AddChain(const config::v1::Workspace& workspace,
              const google::protobuf::RepeatedPtrField<config::v1::TransformationRef>& chain,
              Json* entity) {
  for (const auto& ref : chain) {
    std::string name = ref.transformation_id();
    for (const auto& one : workspace.transformations()) {
      if (one.id() == ref.transformation_id()) name = one.name();
    }
    if (ref.version_id().empty())
      (*entity)["transformations"].push_back(name);
    else
      (*entity)["transformations"].push_back({{"name", name}, {"version", ref.version_id()}});
  }
}

void AddScripts(const config::v1::Workspace& workspace, Json* document) {
  Json& libraries = (*document)["libraries"] = Json::array();
  for (const auto& library : workspace.library_versions()) {
    if (!library.published()) continue;
    libraries.push_back({{"id", library.library_id()},
                         {"importName", library.import_name()},
                         {"code", library.code()}});
  }
  Json& transformations = (*document)["transformations"] = Json::array();
  for (const auto& transformation : workspace.transformations()) {
    if (!transformation.has_published()) continue;
    const auto& version = transformation.published();
    Json one = {{"id", transformation.id()},
                {"name", transformation.name()},
                {"kind", version.kind() == config::v1::RULES ? "rules" : "javascript"},
                {"code", version.code()}};
    for (const auto& pin : version.libraries()) {
      if (pin.library_version_id().empty())
        one["libraries"].push_back(pin.import_name());
      else
        one["libraries"].push_back(
            {{"name", pin.import_name()}, {"version", pin.library_version_id()}});
    }
    if (version.has_limits()) one["limits"] = MessageToJson(version.limits());
    transformations.push_back(std::move(one));
  }
  Json& credentials = (*document)["credentials"] = Json::array();
  for (const auto& credential : workspace.credentials()) {
    credentials.push_back(
        {{"key", credential.key()}, {"secret", credential.secret()}, {"value", "***"}});
  }
}

}  // namespace millrace::control_plane
