#pragma once

#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/event_log/event_log.h"
#include "services/processor/rocks.h"

namespace millrace::processor {

/// A store of one partition that follows a changelog topic. One thread.
class ChangelogStore {
 public:
  virtual ~ChangelogStore() = default;
  virtual Rocks& rocks() const = 0;
  /// Applies records of the changelog; `next` is the offset behind them.
  virtual Status Restore(const event_log::RecordBatch& records, int64_t next) = 0;
};

/// The stores of the partitions that a worker owns, each brought up to the end of its changelog
/// when it is opened. Owned by a stage; one thread.
///
/// What the stage writes it appends to the changelog in the batch's transaction, and to the store
/// once that has committed. When it is not known whether it has, or a store refused it: CloseAll,
/// and open again.
///
/// Where the log ends and comes back with the stores (`beside_log`), the changelog holds only what
/// a store may not have on disk yet, and is trimmed as the store is synced. Elsewhere it holds all
/// that a store holds, for as long as the topic keeps it, and a lost store is made from it.
///
/// A store that does not fit the log, as one of them was lost, restored or replaced, begins anew
/// with a warning.
class PartitionStores {
 public:
  struct Options {
    std::string name;        // for messages
    std::string_view topic;  // of the changelog; its partitions are those of `ingest`
    std::string folder;      // a store's is below it, named by the partition
    bool beside_log = false;
    size_t changes_per_checkpoint = 50'000;  // of a partition, read again at most at a start
    std::chrono::milliseconds trim_interval{1000};
    std::function<StatusOr<std::unique_ptr<ChangelogStore>>(const std::string& folder)> open;
  };
  PartitionStores(Options options, event_log::EventLog& log, Clock& clock)
      : options_(std::move(options)), log_(log), clock_(clock) {}

  /// Opening a store ends soon, with kUnavailable, once this is asked to stop.
  void StopWith(std::stop_token stop) { stop_ = std::move(stop); }
  /// Opens the partition's store anew. A damaged one is made from the changelog.
  Status Open(int32_t partition);
  /// Forgets the partition: its new owner goes on.
  void Close(int32_t partition);
  void CloseAll();
  /// Closes the partition and deletes its store, which is damaged.
  Status Remove(int32_t partition);
  /// Null unless it is open.
  ChangelogStore* Find(int32_t partition) const;

  /// Before a transaction that holds changes of the partition: notes what its store has by now, as
  /// it does from time to time.
  Status BeginChanges(int32_t partition);
  /// What to note in the store together with the changes, -1: nothing.
  int64_t Checkpoint(int32_t partition) const;
  /// The changes are in the store.
  Status EndChanges(int32_t partition, size_t changes);
  /// Between batches: trims what the last ones left in the changelogs.
  Status Idle();

 private:
  struct Partition {
    std::unique_ptr<ChangelogStore> store;
    size_t since_checkpoint = 0;     // changes
    int64_t checkpoint_offset = -1;  // to be noted with the next changes; -1: none
    MonotonicTime trimmed_at;        // or opened
  };
  std::string FolderOf(int32_t partition) const;
  bool IsDue(const Partition& partition) const;
  Status Trim(int32_t number, Partition& partition, int64_t before);
  StatusOr<std::unique_ptr<ChangelogStore>> OpenCaughtUp(int32_t partition);
  Status CheckLog(ChangelogStore& store);
  Status CatchUp(int32_t partition, ChangelogStore& store);
  Status ReadTo(int32_t partition, ChangelogStore& store, int64_t begin, int64_t end,
                const std::string& fence);
  StatusOr<std::string> AppendFence(int32_t partition);
  StatusOr<event_log::PartitionInfo> Describe(int32_t partition);

  const Options options_;
  event_log::EventLog& log_;
  Clock& clock_;
  std::stop_token stop_;
  std::unique_ptr<event_log::Appender> appender_;  // of fences; made when first needed
  std::map<int32_t, Partition> partitions_;
};

}  // namespace millrace::processor
