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

/// Message ids seen in one ingest partition, in RocksDB, in slices of time: each is a family of its
/// own, and the oldest goes as a whole when it is older than the window, or when the store would
/// have more bytes than it may. An older version's store is its first slice. One thread.
class DedupStore final : public ChangelogStore {
 public:
  struct Options {
    std::string folder;      // of this partition; made when there is none
    int64_t window_us = 0;   // for at least so long entries are kept, as far as max_bytes allows
    uint64_t max_bytes = 0;  // on disk; 0: no bound
    std::shared_ptr<const StoreMemory> memory;  // null: its own
    bool write_ahead = false;
  };
  static StatusOr<std::unique_ptr<DedupStore>> Open(const Options& options);

  /// Entries are kept for at least this long from now on.
  void WidenWindow(int64_t window_us);
  /// For each key its newest entry; offset -1 where there is none.
  StatusOr<std::vector<DedupEntry>> Find(const std::vector<DedupKey>& keys) const;
  /// Adds entries, and that the changelog is applied up to (not with) `changelog_offset` (-1:
  /// leave).
  Status Apply(const std::vector<DedupEntry>& entries, int64_t changelog_offset);
  /// How far back the store knows ids: the window, or less once entries went for their bytes.
  int64_t CoveredUs() const;
  uint64_t Bytes() const;

  Rocks& rocks() const override { return *rocks_; }
  Status Restore(const event_log::RecordBatch& records, int64_t next) override;

 private:
  struct Slice {
    int64_t start_us = 0;  // its entries were seen from then on, but for some that came late
    std::string name;      // empty: the default family, of an older version
    Rocks::Family* family = nullptr;
  };
  explicit DedupStore(const Options& options);
  Status ReadSlices();
  Status BeginSlice(int64_t start_us);
  Status DropOldest();
  Status DropOld(int64_t now_us);
  Status DropOverfull();

  const uint64_t max_bytes_;
  int64_t window_us_;
  std::unique_ptr<Rocks> rocks_;
  std::vector<Slice> slices_;  // the oldest first; the last takes what comes
  int64_t newest_us_ = 0;      // of what was seen
  int64_t cut_us_ = 0;         // what was seen before then went for its bytes; 0: nothing
  size_t since_measured_ = SIZE_MAX / 2;  // entries
};

}  // namespace millrace::processor
