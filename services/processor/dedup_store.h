#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "services/processor/partition_stores.h"
#include "services/processor/rocks.h"

namespace millrace::processor {

/// 128 bits that stand for (workspace, source, message id).
using DedupKey = std::array<uint64_t, 2>;
DedupKey MakeDedupKey(std::string_view workspace_id, std::string_view source_id,
                      std::string_view message_id);

/// What was seen, where in topic `ingest`, and when.
struct DedupEntry {
  DedupKey key{};
  int64_t offset = 0;
  int64_t seen_at_us = 0;
};

/// The value of a record of the changelog topic, and back. Unpack fails on any other length.
std::string PackDedupEntries(const std::vector<DedupEntry>& entries);
Status UnpackDedupEntries(std::string_view packed, std::vector<DedupEntry>* entries);

/// Message ids seen in one ingest partition, in RocksDB.
class DedupStore final : public ChangelogStore {
 public:
  struct Options {
    std::string folder;     // of this partition; made when there is none
    int64_t window_us = 0;  // entries older than this are dropped in compactions
    std::shared_ptr<const StoreMemory> memory;  // null: its own
  };
  static StatusOr<std::unique_ptr<DedupStore>> Open(const Options& options);
  ~DedupStore() override;

  /// Entries are kept for at least this long from now on.
  void WidenWindow(int64_t window_us);
  /// For each key its entry; offset -1 where there is none.
  StatusOr<std::vector<DedupEntry>> Find(const std::vector<DedupKey>& keys) const;
  /// Adds entries, and that the changelog is applied up to (not with) `changelog_offset` (-1:
  /// leave).
  Status Apply(const std::vector<DedupEntry>& entries, int64_t changelog_offset);
  Status Restore(const event_log::RecordBatch& records, int64_t next) override;
  int64_t changelog_offset() const override { return rocks_->changelog_offset(); }
  Status Flush() override { return rocks_->Flush(); }
  Status Compact() { return rocks_->Compact(); }

 private:
  class WindowFilter;
  DedupStore();

  std::unique_ptr<WindowFilter> filter_;  // RocksDB points to it
  std::unique_ptr<Rocks> rocks_;
};

}  // namespace millrace::processor
