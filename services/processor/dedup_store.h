#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"

namespace rocksdb {
class Cache;
class DB;
class WriteBufferManager;
}  // namespace rocksdb

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

/// The memory that all stores of one process share: what is cached for reading and what waits to be
/// written. Thread-safe; kept alive by the stores.
struct DedupMemory {
  std::shared_ptr<rocksdb::Cache> cache;
  std::shared_ptr<rocksdb::WriteBufferManager> writes;
};
std::shared_ptr<const DedupMemory> MakeDedupMemory();

/// Message ids seen in one ingest partition, in RocksDB. Owned by the worker that owns the partition;
/// not thread-safe. It has no write-ahead log: the changelog topic is one, and the store remembers how
/// far it has applied it, in the same write as the entries. After kDataLoss the folder is damaged:
/// destroy the object, Remove() the folder and read the changelog again.
class DedupStore {
 public:
  struct Options {
    std::string folder;     // of this partition; made when there is none
    int64_t window_us = 0;  // entries older than this are dropped in compactions
    std::shared_ptr<const DedupMemory> memory;  // null: its own
  };
  static StatusOr<std::unique_ptr<DedupStore>> Open(const Options& options);
  /// Deletes the store in `folder`, which nobody has open.
  static Status Remove(const std::string& folder);
  ~DedupStore();
  DedupStore(const DedupStore&) = delete;
  DedupStore& operator=(const DedupStore&) = delete;

  /// Entries are kept for at least this long from now on.
  void WidenWindow(int64_t window_us);
  /// For each key its entry; offset -1 where there is none.
  StatusOr<std::vector<DedupEntry>> Find(const std::vector<DedupKey>& keys) const;
  /// Adds entries, and that the changelog is applied up to (not with) `changelog_offset` (-1: leave).
  Status Apply(const std::vector<DedupEntry>& entries, int64_t changelog_offset);
  /// Offset of the first changelog record that may not be applied yet; 0 for a new store.
  int64_t changelog_offset() const { return changelog_offset_; }
  /// Writes memory to disk, so that a start needs little of the changelog.
  Status Flush();
  /// Flushes, and drops what is older than the window now instead of some time later.
  Status Compact();

 private:
  class WindowFilter;
  DedupStore();

  std::unique_ptr<WindowFilter> filter_;  // RocksDB points to it
  std::shared_ptr<const DedupMemory> memory_;
  std::unique_ptr<rocksdb::DB> db_;
  int64_t changelog_offset_ = 0;
};

}  // namespace millrace::processor
