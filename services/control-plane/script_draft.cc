#include "services/control-plane/script_draft.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>

#include "libs/base/ids.h"
#include "services/control-plane/script_rules.h"

namespace millrace::control_plane {
namespace {

using config::v1::Script;
using config::v1::ScriptType;
using config::v1::ScriptVersion;
using config::v1::Transformation;
using google::protobuf::util::MessageDifferencer;

Status Invalid(std::string_view what) {
  return MakeStatus(StatusCode::kInvalidArgument, what);
}

bool SameCode(const ScriptVersion& a, const ScriptVersion& b) {
  if (a.code() != b.code() || a.kind() != b.kind() || a.libraries_size() != b.libraries_size())
    return false;
  for (int i = 0; i < a.libraries_size(); ++i) {
    if (!MessageDifferencer::Equals(a.libraries(i), b.libraries(i))) return false;
  }
  return MessageDifferencer::Equals(a.limits(), b.limits());
}

/// Calls `use` with who refers and the reference, for every chain.
void ForEachRef(
    const config::v1::Workspace& workspace,
    const std::function<void(const std::string&, const config::v1::TransformationRef&)>& use) {
  StringMap<std::string> names;
  for (const auto& source : workspace.sources()) {
    names[source.id()] = source.name();
    for (const auto& ref : source.transformations()) use("source '" + source.name() + "'", ref);
  }
  for (const auto& destination : workspace.destinations()) {
    names[destination.id()] = destination.name();
    for (const auto& ref : destination.transformations()) {
      use("destination '" + destination.name() + "'", ref);
    }
  }
  for (const auto& connection : workspace.connections()) {
    for (const auto& ref : connection.transformations()) {
      use(fmt::format("connection '{} -> {}'", names[connection.source_id()],
                      names[connection.destination_id()]),
          ref);
    }
  }
}

}  // namespace

std::string_view WordOf(ScriptType type) {
  return type == config::v1::LIBRARY ? "library" : "transformation";
}

ScriptDraft::ScriptDraft(const ScriptDeps& deps)
    : deps_(deps), base_(deps.config.Current()), workspace_(*base_) {}

StatusOr<Script> ScriptDraft::Find(ScriptType type, const std::string& id_or_name) const {
  for (const ScriptRow& row : change_.scripts) {
    if (row.type != type || id_or_name.empty()) continue;
    const Script& script = row.script;
    if (script.id() == id_or_name || script.name() == id_or_name ||
        script.import_name() == id_or_name) {
      return script;
    }
  }
  MR_ASSIGN_OR_RETURN(const ScriptRow row, deps_.store.FindScript(type, id_or_name));
  const auto& deleted = change_.deleted;
  if (std::find(deleted.begin(), deleted.end(), row.script.id()) != deleted.end()) {
    return Error(StatusCode::kNotFound, "there is no {} '{}'", WordOf(type), id_or_name);
  }
  return row.script;
}

StatusOr<ScriptVersion> ScriptDraft::FindVersion(const Script& script,
                                                 const std::string& version) const {
  for (auto row = change_.versions.rbegin(); row != change_.versions.rend(); ++row) {
    if (row->script_id != script.id()) continue;
    if (version.empty() || version == row->version.id() ||
        version == std::to_string(row->version.number())) {
      return row->version;
    }
  }
  return [&]() -> StatusOr<ScriptVersion> {
    auto found = deps_.store.FindScriptVersion(script.id(), version);
    if (!found.ok()) return Annotate(found.status(), "'" + script.name() + "'");
    return found;
  }();
}

StatusOr<std::vector<Script>> ScriptDraft::Stored(ScriptType type) const {
  MR_ASSIGN_OR_RETURN(auto rows, deps_.store.Scripts(type));
  std::vector<Script> scripts;
  for (ScriptRow& row : rows) {
    const auto& deleted = change_.deleted;
    if (std::find(deleted.begin(), deleted.end(), row.script.id()) == deleted.end()) {
      scripts.push_back(std::move(row.script));
    }
  }
  return scripts;
}

const std::string* ScriptDraft::InForce(ScriptType type, const std::string& script_id) const {
  if (type == config::v1::LIBRARY) {
    for (const auto& version : workspace_.library_versions()) {
      if (version.library_id() == script_id && version.published()) return &version.id();
    }
    return nullptr;
  }
  for (const auto& transformation : workspace_.transformations()) {
    if (transformation.id() == script_id && transformation.has_published()) {
      return &transformation.published().id();
    }
  }
  return nullptr;
}

std::vector<std::string> ScriptDraft::UsedBy(const std::string& transformation_id) const {
  std::vector<std::string> users;
  ForEachRef(workspace_, [&](const std::string& who, const config::v1::TransformationRef& ref) {
    if (ref.transformation_id() == transformation_id) users.push_back(who);
  });
  return users;
}

StatusOr<Script> ScriptDraft::Save(const config::v1::SaveScriptRequest& request,
                                   const Script* existing, const ScriptVersion* base) {
  const ScriptType type = request.type();
  Script script;
  if (existing != nullptr) script = *existing;
  const Script before = script;
  if (request.has_name()) script.set_name(request.name());
  if (request.has_description()) script.set_description(request.description());
  if (request.has_import_name()) script.set_import_name(request.import_name());
  if (type == config::v1::LIBRARY && script.import_name().empty()) {
    script.set_import_name(CamelCase(script.name()));
  }
  MR_RETURN_IF_ERROR(CheckScript(type, script, existing));
  const int64_t now = deps_.clock.NowMicros();
  if (existing == nullptr) {
    script.set_id(NewId(type == config::v1::LIBRARY ? "lib_" : "tr_"));
    script.set_created_at_us(now);
  }
  for (const std::string& name : {script.name(), script.import_name()}) {
    if (name.empty()) continue;
    if (const auto other = Find(type, name); other.ok() && other->id() != script.id()) {
      return Error(StatusCode::kAlreadyExists,
                   "there is a {} '{}' already; change that one, or choose another name",
                   WordOf(type), name);
    }
  }

  ScriptVersion version;
  if (base != nullptr) version = *base;
  if (request.has_kind()) version.set_kind(request.kind());
  if (request.has_code()) version.set_code(request.code());
  if (request.has_limits()) *version.mutable_limits() = request.limits();
  if (!request.libraries().empty()) {
    MR_RETURN_IF_ERROR(ResolveLibraries(request.libraries(), version.mutable_libraries()));
  }
  MR_RETURN_IF_ERROR(CheckVersion(type, version));
  bool differs = base == nullptr || !SameCode(version, *base);
  uint32_t number = 1;
  if (differs && existing != nullptr) {
    MR_ASSIGN_OR_RETURN(const ScriptVersion latest, FindVersion(script, ""));
    number = latest.number() + 1;
    if (SameCode(version, latest)) {  // saved before, and not in force
      version = latest;
      differs = false;
    }
  }
  if (differs) {
    version.set_id(NewId("ver_"));
    version.set_number(number);
    version.set_note(request.note());
    version.set_created_at_us(now);
    change_.versions.push_back({.script_id = script.id(), .version = version});
  }
  if (existing == nullptr || !MessageDifferencer::Equals(script, before) || differs) {
    script.set_updated_at_us(now);
    change_.scripts.push_back({.type = type, .script = script});
    for (auto& one : *workspace_.mutable_transformations()) {
      if (one.id() == script.id()) one.set_name(script.name());
    }
  }
  *script.mutable_latest() = version;
  return script;
}

Transformation* ScriptDraft::MutableTransformation(const Script& script) {
  for (auto& one : *workspace_.mutable_transformations()) {
    if (one.id() == script.id()) return &one;
  }
  Transformation* made = workspace_.add_transformations();
  made->set_id(script.id());
  made->set_name(script.name());
  return made;
}

StatusOr<bool> ScriptDraft::Publish(ScriptType type, const Script& script,
                                    const ScriptVersion& version) {
  if (const std::string* now = InForce(type, script.id()); now != nullptr && *now == version.id()) {
    return false;
  }
  change_.publications.push_back(
      {.script_id = script.id(), .version_id = version.id(), .at_us = deps_.clock.NowMicros()});
  PutInForce(type, script, version);
  return true;
}

void ScriptDraft::PutInForce(ScriptType type, const Script& script, const ScriptVersion& version) {
  to_check_.insert(version.id());
  if (type == config::v1::TRANSFORMATION) {
    Transformation* one = MutableTransformation(script);
    *one->mutable_published() = ToTransformationVersion(script.id(), version);
    if (one->shadow().id() == version.id()) ClearShadow(script.id());
    return;
  }
  libraries_changed_ = true;
  config::v1::LibraryVersion* wanted = nullptr;
  for (auto& one : *workspace_.mutable_library_versions()) {
    if (one.library_id() == script.id()) one.set_published(false);
    if (one.id() == version.id()) wanted = &one;
  }
  if (wanted == nullptr) wanted = workspace_.add_library_versions();
  *wanted = ToLibraryVersion(script, version);
  wanted->set_published(true);
}

StatusOr<ScriptVersion> ScriptDraft::Rollback(ScriptType type, const Script& script) {
  MR_ASSIGN_OR_RETURN(const auto versions, deps_.store.Publications(script.id()));
  if (versions.size() < 2) {
    return Error(StatusCode::kFailedPrecondition,
                 "{} '{}': {}; publish the version that you want by its number", WordOf(type),
                 script.name(),
                 versions.empty() ? "no version was ever published"
                                  : "no other version was in force before");
  }
  MR_ASSIGN_OR_RETURN(const ScriptVersion version,
                      FindVersion(script, versions[versions.size() - 2]));
  change_.undone.push_back(script.id());
  PutInForce(type, script, version);
  return version;
}

Status ScriptDraft::SetShadow(const Script& script, const ScriptVersion& version,
                              uint32_t permille) {
  if (permille < 1 || permille > 1000)
    return Invalid("permille: must be 1 to 1000, the share of events");
  const std::string* in_force = InForce(config::v1::TRANSFORMATION, script.id());
  if (in_force == nullptr) {
    return Error(StatusCode::kFailedPrecondition,
                 "transformation '{}' has no version in force to compare with; publish one first",
                 script.name());
  }
  if (*in_force == version.id()) {
    return Error(StatusCode::kInvalidArgument,
                 "version {} of '{}' is in force itself; name another", version.number(),
                 script.name());
  }
  Transformation* one = MutableTransformation(script);
  *one->mutable_shadow() = ToTransformationVersion(script.id(), version);
  one->set_shadow_permille(permille);
  to_check_.insert(version.id());
  return OkStatus();
}

void ScriptDraft::ClearShadow(const std::string& transformation_id) {
  for (auto& one : *workspace_.mutable_transformations()) {
    if (one.id() != transformation_id) continue;
    one.clear_shadow();
    one.set_shadow_permille(0);
  }
}

Status ScriptDraft::Delete(ScriptType type, const Script& script) {
  if (type == config::v1::TRANSFORMATION) {
    if (const auto users = UsedBy(script.id()); !users.empty()) {
      return Error(StatusCode::kFailedPrecondition,
                   "transformation '{}' is in the chain of {}; take it out there first",
                   script.name(), fmt::join(users, ", "));
    }
    EraseIf(workspace_.mutable_transformations(),
            [&](const Transformation& one) { return one.id() == script.id(); });
  } else {
    libraries_changed_ = true;
    EraseIf(workspace_.mutable_library_versions(),
            [&](const config::v1::LibraryVersion& one) { return one.library_id() == script.id(); });
  }
  change_.deleted.push_back(script.id());
  return OkStatus();
}

StatusOr<config::v1::TransformationRef> ScriptDraft::Refer(const std::string& id_or_name,
                                                           const std::string& version) const {
  auto script = Find(config::v1::TRANSFORMATION, id_or_name);
  if (!script.ok()) {
    return Error(script.status().code() == StatusCode::kNotFound ? StatusCode::kInvalidArgument
                                                                 : script.status().code(),
                 "{}; add it to transformations, or name another", Message(script.status()));
  }
  config::v1::TransformationRef ref;
  ref.set_transformation_id(script->id());
  if (!version.empty()) {
    const auto found = FindVersion(*script, version);
    if (!found.ok()) return Invalid(Message(found.status()));
    ref.set_version_id(found->id());
  } else if (InForce(config::v1::TRANSFORMATION, script->id()) == nullptr) {
    return Error(
        StatusCode::kInvalidArgument,
        "transformation '{}' has no published version; publish it first, or name a version",
        script->name());
  }
  return ref;
}

StatusOr<bool> ScriptDraft::SetCredential(const config::v1::Credential& given) {
  MR_RETURN_IF_ERROR(CheckCredential(given));
  for (auto& one : *workspace_.mutable_credentials()) {
    if (one.key() != given.key()) continue;
    const config::v1::Credential before = one;
    one.set_secret(given.secret());
    if (!IsMasked(given.value())) one.set_value(given.value());
    return !MessageDifferencer::Equals(one, before);
  }
  if (IsMasked(given.value())) {
    return Error(StatusCode::kInvalidArgument,
                 "credential '{}' is masked, and there is no stored value that it stands for; give "
                 "the value",
                 given.key());
  }
  *workspace_.add_credentials() = given;
  return true;
}

bool ScriptDraft::DeleteCredential(const std::string& key) {
  return EraseIf(workspace_.mutable_credentials(),
                 [&](const config::v1::Credential& one) { return one.key() == key; });
}

Status ScriptDraft::ResolveLibraries(
    const google::protobuf::RepeatedPtrField<config::v1::LibraryUse>& uses,
    google::protobuf::RepeatedPtrField<config::v1::LibraryPin>* pins) const {
  pins->Clear();
  for (int i = 0; i < uses.size(); ++i) {
    const auto library = Find(config::v1::LIBRARY, uses[i].name());
    if (!library.ok())
      return Invalid(fmt::format("libraries[{}]: {}", i, Message(library.status())));
    config::v1::LibraryPin* pin = pins->Add();
    pin->set_import_name(library->import_name());
    if (uses[i].version().empty()) continue;
    const auto version = FindVersion(*library, uses[i].version());
    if (!version.ok())
      return Invalid(fmt::format("libraries[{}]: {}", i, Message(version.status())));
    pin->set_library_version_id(version->id());
  }
  return OkStatus();
}

size_t ScriptDraft::changes() const {
  return change_.scripts.size() + change_.versions.size() + change_.publications.size() +
         change_.undone.size() + change_.deleted.size();
}

bool ScriptDraft::changes_anything() const {
  return changes() > 0 || changes_workspace();
}

bool ScriptDraft::changes_workspace() const {
  return !MessageDifferencer::Equals(*base_, workspace_);
}

Status ScriptDraft::Commit() {
  if (!changes_anything()) return OkStatus();
  if (!changes_workspace()) return deps_.store.Commit(change_);
  workspace_.set_revision(base_->revision() + 1);
  workspace_.set_updated_at_us(deps_.clock.NowMicros());
  change_.workspace = workspace_;
  MR_RETURN_IF_ERROR(deps_.store.Commit(change_));
  if (deps_.before_publish) deps_.before_publish(workspace_);
  deps_.config.Set(std::make_shared<const config::v1::Workspace>(workspace_));
  return OkStatus();
}

}  // namespace millrace::control_plane
