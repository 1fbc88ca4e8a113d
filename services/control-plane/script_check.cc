// The part of ScriptDraft that settles what the snapshot holds, and checks code.

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>

#include "services/control-plane/script_draft.h"
#include "services/control-plane/script_rules.h"

namespace millrace::control_plane {
namespace {

using config::v1::CodeFaults;
using config::v1::LibraryVersion;
using config::v1::Transformation;
using config::v1::TransformationVersion;

constexpr char kFaultsUrl[] = "millrace.config.v1.CodeFaults";
constexpr int kFaultsInMessage = 3;

bool HasImport(const std::string& code) {
  return code.find("import") != std::string::npos;
}

std::string Place(const config::v1::CodeFault& fault) {
  std::string place = fault.where() == "transformation" ? fault.script() : fault.where();
  if (place != fault.script()) place = fault.script() + ", library " + place;
  if (fault.line() > 0) place += fmt::format(", line {}", fault.line());
  if (fault.column() > 0) place += fmt::format(", column {}", fault.column());
  return place;
}

/// The versions that processors may run.
std::vector<const TransformationVersion*> VersionsOf(const Transformation& transformation) {
  std::vector<const TransformationVersion*> versions;
  if (transformation.has_published()) versions.push_back(&transformation.published());
  if (transformation.has_shadow()) versions.push_back(&transformation.shadow());
  for (const auto& pinned : transformation.pinned()) versions.push_back(&pinned);
  return versions;
}

}  // namespace

void AddFaults(const std::string& name, const std::vector<transformation::CodeFault>& found,
               CodeFaults* faults) {
  for (const auto& one : found) {
    auto* fault = faults->add_faults();
    fault->set_script(name);
    fault->set_where(one.where);
    fault->set_line(one.line);
    fault->set_column(one.column);
    fault->set_message(one.message);
  }
}

Status FaultStatus(const CodeFaults& faults) {
  std::string message;
  for (int i = 0; i < std::min(faults.faults_size(), kFaultsInMessage); ++i) {
    message += fmt::format("{}{}: {}", i == 0 ? "" : "; ", Place(faults.faults(i)),
                           faults.faults(i).message());
  }
  if (faults.faults_size() > kFaultsInMessage) {
    message += fmt::format("; and {} more", faults.faults_size() - kFaultsInMessage);
  }
  return WithFaults(MakeStatus(StatusCode::kInvalidArgument, message), faults);
}

Status WithFaults(Status status, const CodeFaults& faults) {
  status.SetPayload(kFaultsUrl, absl::Cord(faults.SerializeAsString()));
  return status;
}

CodeFaults FaultsOf(const Status& status) {
  CodeFaults faults;
  if (const auto payload = status.GetPayload(kFaultsUrl); payload.has_value()) {
    (void)faults.ParseFromString(std::string(*payload));
  }
  return faults;
}

Status ScriptDraft::SettlePins() {
  std::vector<config::v1::TransformationRef> refs;
  const auto collect = [&](const auto& entities) {
    for (const auto& entity : entities) {
      for (const auto& ref : entity.transformations()) {
        if (!ref.version_id().empty()) refs.push_back(ref);
      }
    }
  };
  collect(workspace_.sources());
  collect(workspace_.destinations());
  collect(workspace_.connections());
  StringMap<TransformationVersion> known;  // so that the store is asked for new ones only
  for (auto& transformation : *workspace_.mutable_transformations()) {
    for (const auto& pinned : transformation.pinned()) known[pinned.id()] = pinned;
    transformation.clear_pinned();
  }
  StringSet done;
  for (const auto& ref : refs) {
    if (!done.insert(ref.version_id()).second) continue;
    MR_ASSIGN_OR_RETURN(const auto script,
                        Find(config::v1::TRANSFORMATION, ref.transformation_id()));
    Transformation* transformation = MutableTransformation(script);
    if (const auto found = known.find(ref.version_id()); found != known.end()) {
      *transformation->add_pinned() = found->second;
      continue;
    }
    MR_ASSIGN_OR_RETURN(const auto version, FindVersion(script, ref.version_id()));
    *transformation->add_pinned() = ToTransformationVersion(script.id(), version);
    to_check_.insert(version.id());
  }
  EraseIf(workspace_.mutable_transformations(),
          [](const Transformation& one) { return VersionsOf(one).empty(); });
  return OkStatus();
}

Status ScriptDraft::SettleLibraries() {
  StringSet pinned;
  for (const auto& transformation : workspace_.transformations()) {
    for (const auto* version : VersionsOf(transformation)) {
      for (const auto& pin : version->libraries()) {
        if (pin.library_version_id().empty()) continue;
        if (!pinned.insert(pin.library_version_id()).second) continue;
        const auto& held = workspace_.library_versions();
        if (std::any_of(held.begin(), held.end(),
                        [&](const auto& one) { return one.id() == pin.library_version_id(); })) {
          continue;
        }
        const auto library = Find(config::v1::LIBRARY, pin.import_name());
        if (!library.ok()) {
          return Error(StatusCode::kFailedPrecondition,
                       "transformation '{}' is pinned to library '{}', and {}",
                       transformation.name(), pin.import_name(), Message(library.status()));
        }
        MR_ASSIGN_OR_RETURN(const auto found, FindVersion(*library, pin.library_version_id()));
        *workspace_.add_library_versions() = ToLibraryVersion(*library, found);
      }
    }
  }
  EraseIf(workspace_.mutable_library_versions(), [&](const LibraryVersion& one) {
    return !one.published() && !pinned.contains(one.id());
  });
  return OkStatus();
}

Status ScriptDraft::CheckCode(CodeFaults* faults) const {
  transformation::TransformerFactory* factory = nullptr;
  const auto need_factory = [&]() -> Status {
    if (factory != nullptr) return OkStatus();
    if (!deps_.transformers) {
      return MakeStatus(StatusCode::kUnimplemented, "this process runs no transformations");
    }
    MR_ASSIGN_OR_RETURN(factory, deps_.transformers());
    return OkStatus();
  };
  for (const auto& library : workspace_.library_versions()) {
    if (!to_check_.contains(library.id()) && !(libraries_changed_ && HasImport(library.code())))
      continue;
    MR_RETURN_IF_ERROR(need_factory());
    AddFaults(library.import_name(), factory->CheckLibrary(library, workspace_), faults);
  }
  for (const auto& transformation : workspace_.transformations()) {
    StringSet done;
    for (const auto* version : VersionsOf(transformation)) {
      const bool follows = libraries_changed_ && HasImport(version->code());
      if (!to_check_.contains(version->id()) && !follows) continue;
      if (!done.insert(version->id()).second) continue;
      MR_RETURN_IF_ERROR(need_factory());
      AddFaults(transformation.name(), factory->Check(*version, workspace_), faults);
    }
  }
  return OkStatus();
}

Status ScriptDraft::Check(uint64_t expected_revision) {
  if (expected_revision != 0 && expected_revision != base_->revision()) {
    return Error(
        StatusCode::kAborted,
        "the workspace was changed by someone else: it has revision {}, not {}; read it again",
        base_->revision(), expected_revision);
  }
  MR_RETURN_IF_ERROR(SettlePins());
  MR_RETURN_IF_ERROR(SettleLibraries());
  CodeFaults faults;
  MR_RETURN_IF_ERROR(CheckCode(&faults));
  return faults.faults().empty() ? OkStatus() : FaultStatus(faults);
}

}  // namespace millrace::control_plane
