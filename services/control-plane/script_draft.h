#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/string_map.h"
#include "libs/config/local_source.h"
#include "libs/transformation/transformer.h"
#include "services/control-plane/store.h"

namespace millrace::control_plane {

/// Gives the factory of this process, which is made when it is first asked for.
using TransformerProvider = std::function<StatusOr<transformation::TransformerFactory*>()>;

struct ScriptDeps {
  Store& store;
  config::LocalSource& config;
  Clock& clock;
  TransformerProvider transformers;
  TransformerProvider test_transformers = {};  // empty: as `transformers`
  /// Told of each workspace between its storing and its publication; empty: nobody.
  std::function<void(const config::v1::Workspace&)> before_publish = {};
};

/// Adds what a check found in the code of `name`.
void AddFaults(const std::string& name, const std::vector<transformation::CodeFault>& found,
               config::v1::CodeFaults* faults);
/// The message is for people; the faults themselves are in the payload, see FaultsOf.
Status FaultStatus(const config::v1::CodeFaults& faults);
Status WithFaults(Status status, const config::v1::CodeFaults& faults);
/// Of a refusal with faults; else none.
config::v1::CodeFaults FaultsOf(const Status& status);

/// "transformation" or "library".
std::string_view WordOf(config::v1::ScriptType type);

/// A change of the workspace and its scripts in the making. Sees what it has changed itself;
/// nothing is stored or in force before Commit. One thread; made, used and thrown away within one
/// call.
class ScriptDraft {
 public:
  explicit ScriptDraft(const ScriptDeps& deps);

  /// As it will be. Chains, sources and so on may be changed here; scripts only by the methods
  /// below.
  config::v1::Workspace& workspace() { return workspace_; }
  const config::v1::Workspace& workspace() const { return workspace_; }
  int64_t NowMicros() const { return deps_.clock.NowMicros(); }

  /// By id, name or import name. kNotFound.
  StatusOr<config::v1::Script> Find(config::v1::ScriptType type,
                                    const std::string& id_or_name) const;
  /// By number or id; the latest for "". kNotFound names the script.
  StatusOr<config::v1::ScriptVersion> FindVersion(const config::v1::Script& script,
                                                  const std::string& version) const;
  /// All that are kept, by name, but those that this draft deletes or makes.
  StatusOr<std::vector<config::v1::Script>> Stored(config::v1::ScriptType type) const;
  /// The version in force; null: none.
  const std::string* InForce(config::v1::ScriptType type, const std::string& script_id) const;
  /// The chains that refer to a transformation.
  std::vector<std::string> UsedBy(const std::string& transformation_id) const;

  /// Makes a script, or a further version of `existing`, unless nothing differs from its version
  /// `base`. kInvalidArgument; kAlreadyExists: the name is taken.
  StatusOr<config::v1::Script> Save(const config::v1::SaveScriptRequest& request,
                                    const config::v1::Script* existing,
                                    const config::v1::ScriptVersion* base);
  /// False: it is in force already.
  StatusOr<bool> Publish(config::v1::ScriptType type, const config::v1::Script& script,
                         const config::v1::ScriptVersion& version);
  /// Puts the version that was in force before in force again, and gives it.
  StatusOr<config::v1::ScriptVersion> Rollback(config::v1::ScriptType type,
                                               const config::v1::Script& script);
  Status SetShadow(const config::v1::Script& script, const config::v1::ScriptVersion& version,
                   uint32_t permille);
  void ClearShadow(const std::string& transformation_id);
  /// kFailedPrecondition: a chain refers to it.
  Status Delete(config::v1::ScriptType type, const config::v1::Script& script);
  /// The reference of a chain. kInvalidArgument says why there can be none.
  StatusOr<config::v1::TransformationRef> Refer(const std::string& id_or_name,
                                                const std::string& version) const;
  /// False: all was so already. kInvalidArgument: no key that can be.
  StatusOr<bool> SetCredential(const config::v1::Credential& credential);
  bool DeleteCredential(const std::string& key);

  /// Library versions by the names that `uses` gives. kInvalidArgument: there is no such one.
  Status ResolveLibraries(const google::protobuf::RepeatedPtrField<config::v1::LibraryUse>& uses,
                          google::protobuf::RepeatedPtrField<config::v1::LibraryPin>* pins) const;

  /// Brings the snapshot's pinned versions in line with chains, and checks all code that the change
  /// puts in force or that depends on it. kInvalidArgument with faults; kAborted when
  /// `expected_revision` (0 = any) is not the workspace's.
  Status Check(uint64_t expected_revision = 0);
  /// After Check. kAborted: someone else changed something meanwhile.
  Status Commit();
  bool changes_anything() const;
  /// How many changes of scripts there are, to tell whether a call made any.
  size_t changes() const;

 private:
  bool changes_workspace() const;
  void PutInForce(config::v1::ScriptType type, const config::v1::Script& script,
                  const config::v1::ScriptVersion& version);
  Status SettlePins();
  Status SettleLibraries();
  config::v1::Transformation* MutableTransformation(const config::v1::Script& script);
  Status CheckCode(config::v1::CodeFaults* faults) const;

  const ScriptDeps& deps_;
  const config::WorkspacePtr base_;
  config::v1::Workspace workspace_;
  StoreChange change_;
  StringSet to_check_;  // version ids newly in force, in the shadow or pinned
  bool libraries_changed_ = false;
};

}  // namespace millrace::control_plane
