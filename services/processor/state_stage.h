#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/transformation/state.h"
#include "services/processor/partition_stores.h"
#include "services/processor/state_store.h"

namespace millrace::processor {

/// What `store` of transformations keeps, of the partitions that a worker owns. A partition's store
/// is opened when a transformation first asks for it. Owned by the worker; one thread, but for the
/// scopes it gives out, of which each is one thread's at a time.
///
/// As with dedup: a batch only reads; the worker puts Changelog() into its transaction and calls
/// Committed() once that is durable. After an error of Committed, or when the fate of the
/// transaction is not known: CloseAll.
class StateStage {
 public:
  struct Options {
    std::string folder;
    int64_t quota_bytes = 64 << 20;  // of one workspace in one partition
    int64_t longest_s = 30 * 86'400;
    std::shared_ptr<const StoreMemory> memory;
    bool beside_log = false;  // PartitionStores
    size_t changes_per_checkpoint = 50'000;
    std::chrono::milliseconds trim_interval{1000};
  };
  StateStage(Options options, event_log::EventLog& log, Clock& clock);
  ~StateStage();

  void StopWith(std::stop_token stop) { stores_.StopWith(std::move(stop)); }
  /// Forgets what a batch before wrote and did not commit.
  void BeginBatch();
  /// Valid until BeginBatch or Close.
  StatusOr<transformation::StateScope*> Scope(const std::string& workspace_id, int32_t partition);
  /// A scope beside that one: it sees what is committed now, and its own writes, which are lost
  /// with it. It goes before the partition is closed.
  StatusOr<std::unique_ptr<transformation::StateScope>> ShadowScope(const std::string& workspace_id,
                                                                    int32_t partition);
  /// Why the stores failed a transformation of this batch, if they did: the world's fault, not the
  /// event's.
  Status Fault();
  void Close(int32_t partition);
  void CloseAll();

  /// What the batch wrote: partition and packed changes.
  StatusOr<std::vector<std::pair<int32_t, std::string>>> Changelog();
  Status Committed();
  Status Idle() { return stores_.Idle(); }

 private:
  class BatchScope;
  StatusOr<StateStore*> OpenStore(int32_t partition);

  const Options options_;
  Clock& clock_;
  PartitionStores stores_;
  std::map<std::pair<int32_t, std::string>, std::unique_ptr<BatchScope>> scopes_;
};

}  // namespace millrace::processor
