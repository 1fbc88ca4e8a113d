#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "libs/base/status.h"

namespace rocksdb {
class Cache;
class CompactionFilter;
class DB;
class Status;
class WriteBatch;
class WriteBufferManager;
}  // namespace rocksdb

namespace millrace::processor {

/// The memory that all stores of one kind in a process share: what is cached for reading and what
/// waits to be written. Thread-safe; kept alive by the stores.
struct StoreMemory {
  std::shared_ptr<rocksdb::Cache> cache;
  std::shared_ptr<rocksdb::WriteBufferManager> writes;
};
std::shared_ptr<const StoreMemory> MakeStoreMemory();

/// kDataLoss when the folder is damaged, else kUnavailable.
Status FromRocks(const rocksdb::Status& status, std::string_view what);

/// A RocksDB whose changes a changelog topic holds: it has no write-ahead log, and notes in the
/// same write as the changes how far it has applied that topic. Owned by its store; reads from any
/// thread, writes from one. After kDataLoss: destroy the object, Remove() the folder and read the
/// changelog again.
class Rocks {
 public:
  struct Options {
    std::string folder;                           // made when there is none
    rocksdb::CompactionFilter* filter = nullptr;  // outlives the object
    int64_t keep_s = 0;                         // what the filter drops goes at most so much later
    std::shared_ptr<const StoreMemory> memory;  // null: its own
  };
  static StatusOr<std::unique_ptr<Rocks>> Open(const Options& options);
  /// Deletes what is in `folder`, which nobody has open.
  static Status Remove(const std::string& folder);
  ~Rocks();
  Rocks(const Rocks&) = delete;
  Rocks& operator=(const Rocks&) = delete;

  rocksdb::DB& db() const { return *db_; }
  /// Writes, and that the changelog is applied up to (not with) `changelog_offset` (-1: leave).
  Status Write(rocksdb::WriteBatch& batch, int64_t changelog_offset);
  /// Offset of the first changelog record that may not be applied yet; 0 for a new store.
  int64_t changelog_offset() const { return changelog_offset_; }
  /// Writes memory to disk, so that a start needs little of the changelog.
  Status Flush();
  /// Flushes, and drops what the filter drops now instead of some time later.
  Status Compact();

 private:
  Rocks() = default;

  std::shared_ptr<const StoreMemory> memory_;
  std::unique_ptr<rocksdb::DB> db_;
  int64_t changelog_offset_ = 0;
};

}  // namespace millrace::processor
