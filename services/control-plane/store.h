#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/base/string_map.h"
#include "millrace/accounting/v1/accounting.pb.h"
#include "millrace/config/v1/config_service.pb.h"
#include "millrace/config/v1/transformation_service.pb.h"
#include "millrace/config/v1/workspace.pb.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "millrace/transformation/v1/report.pb.h"
#include "services/control-plane/database.h"

namespace millrace::control_plane {

/// A sum of accounting.v1.Count.
struct CountRow {
  std::string stage;
  std::string source_id;
  std::string destination_id;
  accounting::v1::Fate fate{};
  std::string reason;
  int64_t count = 0;
};

/// Bounds of what is kept of dead letters.
struct DeadLetterLimits {
  int64_t max_age_us = int64_t{30} * 24 * 3600 * 1'000'000;
  int64_t max_count = 100'000;           // of one source and destination
  int64_t max_bytes = int64_t{1} << 30;  // of all, as they are kept
};

/// What is kept of the dead letters, and how many went by the bounds since the store was made.
struct DeadLetterSums {
  int64_t kept = 0;
  int64_t bytes = 0;
  int64_t purged = 0;
};

struct DeadLetterRow {
  delivery::v1::DeadLetter letter;
  std::string state;  // dead | redriven
};

/// A transformation or library as it is kept: of `script`, what is neither version nor in force.
struct ScriptRow {
  config::v1::ScriptType type{};
  config::v1::Script script;
};

struct ScriptVersionRow {
  std::string script_id;
  config::v1::ScriptVersion version;
};

/// A version that was put in force.
struct PublicationRow {
  std::string script_id;
  std::string version_id;
  int64_t at_us = 0;
};

/// A destination that was taken out of the workspace and has not come back since. What the counters
/// say waits for it counts as dead-lettered, reason `destination_deleted`.
struct DeletedDestination {
  std::string id;
  std::string name;
  std::string type;
  int64_t deleted_at_us = 0;
  /// Its topics are gone, and what waited is in the counts as dead-lettered: by them nothing waits.
  bool settled = false;
};

/// How the workspace stands to a configuration that a service holds.
enum class Descent {
  kSuccessor,  // this store made it, and what is here came after it
  kAccepted,   // not so, but an operator has allowed to replace it
  kForeign,    // not so: of another store, or of a time that this one, restored, has no record of
};

/// What one call changes, all or nothing.
struct StoreChange {
  std::optional<config::v1::Workspace> workspace;  // as SaveWorkspace
  std::vector<ScriptRow> scripts;                  // new, or in place of the one with the same id
  std::vector<ScriptVersionRow> versions;          // new
  std::vector<PublicationRow> publications;        // in their order
  std::vector<std::string> undone;                 // scripts whose last publication is taken back
  std::vector<std::string> deleted;                // scripts, with their versions
};

/// What the control plane keeps: the workspace, every version of transformations and libraries, the
/// sums of topics `counters` and `transformation-report` and the dead letters, each with the
/// positions read, so that a record is taken exactly once. Thread-safe.
class Store {
 public:
  /// Deleted destinations whose counts are kept; those of older ones go.
  static constexpr int kDeletedKept = 500;

  static StatusOr<std::unique_ptr<Store>> Open(const std::string& path);

  /// The workspace; an empty one (id "default", revision 1) before the first change.
  StatusOr<config::v1::Workspace> LoadWorkspace();
  /// Replaces it. kAborted when another change came between: `workspace.revision` must be one more
  /// than the stored one.
  Status SaveWorkspace(const config::v1::Workspace& workspace);
  /// kAborted as SaveWorkspace, and when a name or a version's number was taken meanwhile.
  Status Commit(const StoreChange& change);

  /// By name.
  StatusOr<std::vector<ScriptRow>> Scripts(config::v1::ScriptType type);
  /// By id, or else by name or import name. kNotFound.
  StatusOr<ScriptRow> FindScript(config::v1::ScriptType type, const std::string& id_or_name);
  /// Newest first.
  StatusOr<std::vector<config::v1::ScriptVersion>> ScriptVersions(const std::string& script_id);
  /// By number or id; the latest for "". kNotFound.
  StatusOr<config::v1::ScriptVersion> FindScriptVersion(const std::string& script_id,
                                                        const std::string& version);
  /// Version ids in the order they came in force, without those taken back.
  StatusOr<std::vector<std::string>> Publications(const std::string& script_id);

  /// Offset to read next, 0 for a partition not read yet.
  StatusOr<int64_t> Position(const std::string& topic, int32_t partition);
  Status AddCounters(const std::vector<accounting::v1::Counters>& records, const std::string& topic,
                     int32_t partition, int64_t next_offset);
  /// A letter with `redriven` set marks the one with its id.
  Status AddDeadLetters(const std::vector<delivery::v1::DeadLetter>& letters,
                        const std::string& topic, int32_t partition, int64_t next_offset);
  Status AddReports(const std::vector<transformation::v1::TransformationReport>& reports,
                    const std::string& topic, int32_t partition, int64_t next_offset);
  /// Totals, logs and shadow samples of a transformation; names and numbers are not filled in.
  StatusOr<config::v1::ScriptReport> Report(const std::string& script_id);

  /// All sums with the positions that they cover, of records of `topic` (`counters`).
  StatusOr<accounting::v1::CountersSnapshot> CountersUpToNow(const std::string& topic);
  /// Puts a snapshot in place of all sums and positions of `topic`.
  Status ReplaceCounters(const accounting::v1::CountersSnapshot& snapshot,
                         const std::string& topic);
  /// Notes which log the positions belong to. True: it is another than before, so that positions
  /// and sums begin anew; dead letters stay, and those to come cannot take their ids. A store that
  /// knows no log yet takes this one for another when positions are `beyond_its_end`.
  StatusOr<bool> UseLog(const std::string& id, bool beyond_its_end = false);

  StatusOr<std::vector<CountRow>> Counts();

  /// Random, made with the file: another id is another store, whatever its revisions are.
  StatusOr<std::string> Identity();
  /// Whether the workspace is a successor of a configuration that a service holds.
  StatusOr<Descent> DescentFrom(const config::v1::HeldConfiguration& held);
  /// From now on every configuration of store `store_id` (also of this one, from before it was
  /// restored) that is not newer than `until_us` may be replaced.
  Status AcceptInPlaceOf(const std::string& store_id, int64_t until_us);
  /// By id. A destination is noted here in the change that takes it out of the workspace, and goes
  /// from here in the one that makes a new destination with its id.
  StatusOr<std::vector<DeletedDestination>> DeletedDestinations();
  /// Notes a destination that was deleted before deletions were noted. OK when it is noted already.
  Status AddDeleted(const DeletedDestination& destination);
  /// Events that wait for each destination, by the counters read so far: emitted minus finished.
  StatusOr<StringMap<int64_t>> Waiting();
  /// Once its topics are gone: counts what waited for a deleted destination as dead-lettered, by
  /// the counters read so far. `all_read`: all are read by now, and it is settled for good; until
  /// then a further call corrects the count. OK when it is settled already; kNotFound when it is
  /// not a deleted one.
  Status SettleDeleted(const std::string& destination_id, bool all_read = true);

  /// Newest first. Empty `destination_id`: all; empty `ids`: any.
  StatusOr<std::vector<DeadLetterRow>> DeadLetters(const std::string& destination_id,
                                                   const std::vector<std::string>& ids,
                                                   int64_t limit);
  /// Ids of letters in state `dead`, oldest first, those after the letter `after`. Empty
  /// `destination_id`: all. None when `after` was purged meanwhile.
  StatusOr<std::vector<std::string>> DeadLetterIds(const std::string& destination_id, int64_t limit,
                                                   const std::string& after = "");
  /// Deletes a part of what is beyond the limits, oldest first; how many. 0: nothing is.
  StatusOr<int64_t> PurgeDeadLetters(const DeadLetterLimits& limits, int64_t now_us);
  StatusOr<DeadLetterSums> SumsOfDeadLetters();

 private:
  explicit Store(std::unique_ptr<Database> database) : database_(std::move(database)) {}
  Status SetPosition(const std::string& topic, int32_t partition, int64_t next_offset);
  Status AddOne(const accounting::v1::Counters& record);
  Status AddLetter(const delivery::v1::DeadLetter& letter);
  StatusOr<int64_t> Purge(const std::string& chosen, const std::function<void(Statement&)>& bind);
  StatusOr<int64_t> PurgeOld(int64_t before_us);
  StatusOr<int64_t> PurgeOldestOf(const std::string& source, const std::string& destination,
                                  int64_t count);
  StatusOr<int64_t> PurgeBeyond(const DeadLetterLimits& limits);
  Status PutWorkspace(const config::v1::Workspace& workspace);
  Status NoteDeleted(const config::v1::Workspace& before, const config::v1::Workspace& after);
  Status ForgetOldest();
  Status NoteRevision(const config::v1::Workspace& workspace);
  StatusOr<std::string> IdentityLocked();
  Status PutScript(const ScriptRow& row);
  Status Delete(const std::string& script_id);
  Status AddReport(const transformation::v1::VersionReport& report, int64_t at_us);
  template <typename Body>
  Status InTransaction(Body body) {
    MutexLock lock(mu_);
    MR_RETURN_IF_ERROR(database_->Execute("BEGIN IMMEDIATE"));
    Status status = body();
    if (status.ok()) status = database_->Execute("COMMIT");
    if (!status.ok()) (void)database_->Execute("ROLLBACK");
    return status;
  }

  Mutex mu_;
  std::unique_ptr<Database> database_;
  int64_t log_number_ = 1;  // grows with each log that the store was used with
};

}  // namespace millrace::control_plane
