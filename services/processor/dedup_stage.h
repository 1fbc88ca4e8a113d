#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/string_map.h"
#include "libs/config/config_source.h"
#include "libs/event_log/event_log.h"
#include "libs/telemetry/metrics.h"
#include "services/processor/dedup_store.h"
#include "services/processor/event_batch.h"
#include "services/processor/partition_stores.h"

namespace millrace::processor {

/// Marks events whose message id their source has sent before, within the window. Holds one store
/// per partition that the worker owns; not thread-safe.
///
/// Run only reads. The worker calls Changelog() and puts the result into its transaction, and calls
/// Committed() once that is durable, so that nothing of an aborted transaction is remembered. After
/// an error of Committed, or when the fate of the transaction is not known, the stores may lack
/// what the changelog has: CloseAll, and Open the partitions again.
class DedupStage final : public Stage {
 public:
  struct Options {
    std::string folder;
    int64_t default_window_us = 0;     // negative: off for sources that set no window
    uint64_t max_partition_bytes = 0;  // of a partition's store; the window shortens; 0: no bound
    std::shared_ptr<const StoreMemory> memory;
    bool beside_log = false;                 // PartitionStores
    size_t entries_per_checkpoint = 50'000;  // of a partition, read again at most at a start
    std::chrono::milliseconds trim_interval{1000};
  };
  DedupStage(Options options, event_log::EventLog& log, Clock& clock,
             telemetry::Metrics* metrics = nullptr);

  std::string_view name() const override { return "dedup"; }
  Status Run(EventBatch& batch) override;

  void StopWith(std::stop_token stop) { stores_.StopWith(std::move(stop)); }
  /// Windows of the sources from now on.
  void SetWorkspace(const config::v1::Workspace& workspace);
  /// Opens the partition's store and brings it up to the end of the changelog. A damaged store is
  /// made anew from the changelog.
  Status Open(int32_t partition);
  /// Forgets the partition: its new owner goes on.
  void Close(int32_t partition);
  void CloseAll();

  /// New ids of the last Run by partition, packed for the changelog topic.
  StatusOr<std::map<int32_t, std::string>> Changelog();
  /// Puts the last Run's new ids into the stores.
  Status Committed();
  /// Between batches.
  Status Idle() { return stores_.Idle(); }
  /// The longest window of all sources.
  int64_t widest_window_us() const { return widest_window_us_; }

 private:
  /// What was said of a partition's store.
  struct Told {
    bool shortened = false;
    MonotonicTime at;
    telemetry::Gauge* window = nullptr;
    telemetry::Gauge* bytes = nullptr;
  };
  StatusOr<std::unique_ptr<ChangelogStore>> OpenStore(const std::string& folder);
  DedupStore& StoreOf(int32_t partition);
  Status Judge(std::vector<Event*>& events, DedupStore& store, std::vector<DedupEntry>& fresh);
  int64_t WindowOf(std::string_view source_id) const;
  void TellWindow(int32_t partition, const DedupStore& store);

  const Options options_;
  PartitionStores stores_;
  Clock& clock_;
  telemetry::Metrics* const metrics_;
  std::map<int32_t, Told> told_;
  StringMap<int64_t> windows_us_;
  int64_t widest_window_us_ = 0;
  std::map<int32_t, std::vector<DedupEntry>>
      fresh_;  // new ids of the last Run; of each open partition
};

}  // namespace millrace::processor
