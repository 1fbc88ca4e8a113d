#include "services/processor/rocks.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>

#include <cstring>
#include <filesystem>

#include "libs/base/file.h"

namespace millrace::processor {
namespace {

constexpr char kChangelogKey[] = "changelog-offset";  // no key of a store is equal to it
constexpr size_t kCacheBytes = 8 << 20;
constexpr size_t kWriteBufferBytes = 8 << 20;  // of one store
constexpr size_t kAllWriteBufferBytes = 16 << 20;

}  // namespace

std::shared_ptr<const StoreMemory> MakeStoreMemory() {
  auto memory = std::make_shared<StoreMemory>();
  memory->cache = rocksdb::NewLRUCache(kCacheBytes);
  memory->writes = std::make_shared<rocksdb::WriteBufferManager>(kAllWriteBufferBytes);
  return memory;
}

Status FromRocks(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return OkStatus();
  return Error(status.IsCorruption() ? StatusCode::kDataLoss : StatusCode::kUnavailable,
               "store: {}: {}", what, status.ToString());
}

StatusOr<std::unique_ptr<Rocks>> Rocks::Open(const Options& options) {
  MR_RETURN_IF_ERROR(MakeFolders(options.folder));
  std::unique_ptr<Rocks> store(new Rocks);
  store->memory_ = options.memory != nullptr ? options.memory : MakeStoreMemory();
  rocksdb::Options rocks;
  rocks.create_if_missing = true;
  rocks.compaction_filter = options.filter;
  rocks.write_buffer_size = kWriteBufferBytes;
  rocks.write_buffer_manager = store->memory_->writes;
  rocks.memtable_whole_key_filtering = true;  // most keys are new: ask a bloom filter first
  rocks.memtable_prefix_bloom_size_ratio = 0.05;
  rocks.max_write_buffer_number = 2;
  rocks.max_open_files = 64;
  rocks.keep_log_file_num = 2;
  rocks.max_background_jobs = 2;
  rocks.info_log_level = rocksdb::WARN_LEVEL;
  rocks.periodic_compaction_seconds = static_cast<uint64_t>(options.keep_s);
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.block_cache = store->memory_->cache;
  rocks.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  rocksdb::DB* db = nullptr;
  MR_RETURN_IF_ERROR(FromRocks(rocksdb::DB::Open(rocks, options.folder, &db), options.folder));
  store->db_.reset(db);
  std::string value;
  const auto found = db->Get(rocksdb::ReadOptions(), kChangelogKey, &value);
  if (!found.ok() && !found.IsNotFound()) return FromRocks(found, options.folder);
  if (found.ok() && value.size() == 8) std::memcpy(&store->changelog_offset_, value.data(), 8);
  return store;
}

Status Rocks::Remove(const std::string& folder) {
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  if (!error) return OkStatus();
  return Error(StatusCode::kUnavailable, "removing {}: {}", folder, error.message());
}

Rocks::~Rocks() {
  if (db_ != nullptr) (void)db_->Close();  // waits for compactions, which use the filter
}

Status Rocks::Write(rocksdb::WriteBatch& batch, int64_t changelog_offset) {
  if (changelog_offset >= 0) {
    const rocksdb::Slice value(reinterpret_cast<const char*>(&changelog_offset), 8);
    MR_RETURN_IF_ERROR(FromRocks(batch.Put(kChangelogKey, value), "writing"));
  }
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  MR_RETURN_IF_ERROR(FromRocks(db_->Write(write, &batch), "writing"));
  if (changelog_offset >= 0) changelog_offset_ = changelog_offset;
  return OkStatus();
}

Status Rocks::Compact() {
  MR_RETURN_IF_ERROR(Flush());
  rocksdb::CompactRangeOptions whole;
  whole.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  return FromRocks(db_->CompactRange(whole, nullptr, nullptr), "compacting");
}

Status Rocks::Flush() {
  return FromRocks(db_->Flush(rocksdb::FlushOptions()), "flushing");
}

}  // namespace millrace::processor
