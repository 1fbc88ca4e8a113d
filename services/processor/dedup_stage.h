#pragma once

#include <map>
#include <memory>
#include <string>

#include "libs/base/string_map.h"
#include "libs/config/config_source.h"
#include "libs/event_log/event_log.h"
#include "services/processor/dedup_store.h"
#include "services/processor/event_batch.h"

namespace millrace::processor {

/// Marks events whose message id their source has sent before, within the window. Holds one store per
/// partition that the worker owns; not thread-safe.
///
/// Run only reads. The worker puts Changelog() into its transaction and calls Committed() once that is
/// durable, so that nothing of an aborted transaction is remembered.
class DedupStage final : public Stage {
 public:
  struct Options {
    std::string folder;
    int64_t default_window_us = 0;  // negative: off for sources that set no window
  };
  DedupStage(Options options, event_log::EventLog& log) : options_(std::move(options)), log_(log) {}

  std::string_view name() const override { return "dedup"; }
  Status Run(EventBatch& batch) override;

  /// Windows of the sources from now on.
  void SetWorkspace(const config::v1::Workspace& workspace);
  /// Opens the partition's store and brings it up to the end of the changelog.
  Status Open(int32_t partition);
  /// Forgets the partition: its new owner goes on.
  void Close(int32_t partition);

  /// New ids of the last Run by partition, packed for the changelog topic.
  std::map<int32_t, std::string> Changelog() const;
  /// Puts the last Run's new ids into the stores.
  Status Committed();

 private:
  Status CatchUp(int32_t partition, DedupStore* store);
  Status Checkpoint(int32_t partition, DedupStore* store);
  int64_t WindowOf(std::string_view source_id) const;

  const Options options_;
  event_log::EventLog& log_;
  StringMap<int64_t> windows_us_;
  std::map<int32_t, std::unique_ptr<DedupStore>> stores_;
  std::map<int32_t, std::vector<DedupEntry>> fresh_;
  std::map<int32_t, size_t> since_checkpoint_;
};

}  // namespace millrace::processor
