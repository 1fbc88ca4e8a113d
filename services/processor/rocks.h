#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "libs/base/status.h"

namespace rocksdb {
class Cache;
class ColumnFamilyHandle;
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

/// A RocksDB whose changes a changelog topic holds until it has them on disk: it notes in the same
/// write as changes how far it has applied that topic, and of which log the topic is. Owned by its
/// store; reads from any thread, all else from one. After kDataLoss: destroy the object, Remove()
/// the folder and read the changelog again. After another error (no room on the disk): destroy it
/// and open it again when the cause has passed.
class Rocks {
 public:
  struct Options {
    std::string folder;                           // made when there is none
    rocksdb::CompactionFilter* filter = nullptr;  // of the default family; outlives the object
    int64_t keep_s = 0;                         // what the filter drops goes at most so much later
    std::shared_ptr<const StoreMemory> memory;  // null: its own
    /// Keeps a write-ahead log: what was written survives the end of the process at once, and the
    /// loss of power from Sync on. Without it, from Flush on.
    bool write_ahead = false;
    /// What is written goes to the newest family; the default one has notes only.
    bool sliced = false;
  };
  using Family = rocksdb::ColumnFamilyHandle;

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
  /// Notes that alone.
  Status Note(int64_t changelog_offset);
  /// EventLog::Id of the changelog's log; empty when it was never noted.
  const std::string& log_id() const { return log_id_; }
  Status NoteLogId(const std::string& log_id);
  /// Notes of the dedup store: from when on it has all that was seen, and that the default family
  /// holds no entries.
  static constexpr std::string_view kCutNote = "cut-at";
  static constexpr std::string_view kSlicedNote = "sliced";
  /// A note, or -1.
  StatusOr<int64_t> ReadNumber(std::string_view name) const;
  Status WriteNumber(std::string_view name, int64_t number);

  /// Forgets what the default family has, but for notes of all kinds.
  Status ClearDefault();

  /// Families beside the default one, by name.
  const std::map<std::string, Family*>& families() const { return families_; }
  StatusOr<Family*> AddFamily(const std::string& name);
  /// Nothing more will be written to the family: it takes little memory from now on, and is soon
  /// one run of sorted files.
  Status Seal(Family* family);
  /// Gives its disk back at once.
  Status DropFamily(const std::string& name);
  /// Bytes on disk, and about those in memory that are yet to come there.
  uint64_t BytesOf(Family* family) const;

  /// Writes memory to disk, so that a start needs little of the changelog.
  Status Flush();
  /// What was written survives the loss of power, at the least cost.
  Status Sync();
  /// Flushes, and drops what the filter drops now instead of some time later.
  Status Compact();

 private:
  Rocks() = default;
  Status Checked(const rocksdb::Status& status, std::string_view what);
  Status ReadNotes();

  Options options_;
  std::unique_ptr<rocksdb::DB> db_;
  Family* default_ = nullptr;
  std::map<std::string, Family*> families_;
  int64_t changelog_offset_ = 0;
  /// The first fault of a write. From then on nothing more is asked of RocksDB: a file that it
  /// could not write to the end aborts the process when it is written to again.
  Status fault_;
  std::string log_id_;
};

}  // namespace millrace::processor
