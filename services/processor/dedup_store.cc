#include "services/processor/dedup_store.h"

#include <rocksdb/cache.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>

#include "libs/base/file.h"
#include "libs/base/hash.h"

namespace millrace::processor {
namespace {

constexpr std::string_view kChangelogKey = "changelog-offset";  // 16 bytes as keys, but not a hash
constexpr size_t kEntryBytes = 32;
constexpr size_t kCacheBytes = 8 << 20;
constexpr size_t kWriteBufferBytes = 8 << 20;  // of one store
constexpr size_t kAllWriteBufferBytes = 16 << 20;

rocksdb::Slice ToSlice(std::string_view text) { return {text.data(), text.size()}; }
std::string_view AsText(const DedupKey& key) {
  return {reinterpret_cast<const char*>(key.data()), sizeof(DedupKey)};
}

Status FromRocks(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return OkStatus();
  return Error(status.IsCorruption() ? StatusCode::kDataLoss : StatusCode::kUnavailable,
               "dedup store: {}: {}", what, status.ToString());
}

}  // namespace

/// Drops entries older than the window, by the newest time the store has seen: no clock is asked.
class DedupStore::WindowFilter final : public rocksdb::CompactionFilter {
 public:
  explicit WindowFilter(int64_t window_us) : window_us_(window_us) {}
  const char* Name() const override { return "millrace.dedup.window"; }
  bool Filter(int, const rocksdb::Slice&, const rocksdb::Slice& value, std::string*,
              bool*) const override {
    int64_t seen_at = 0;
    if (value.size() != 16) return false;
    std::memcpy(&seen_at, value.data() + 8, 8);
    return seen_at + window_us_.load(std::memory_order_relaxed) <
           newest_.load(std::memory_order_relaxed);
  }
  // One thread calls these; RocksDB's own threads read.
  void Saw(int64_t time_us) { newest_ = std::max(newest_.load(), time_us); }
  void Widen(int64_t window_us) { window_us_ = std::max(window_us_.load(), window_us); }

 private:
  std::atomic<int64_t> window_us_;
  std::atomic<int64_t> newest_{0};
};

std::shared_ptr<const DedupMemory> MakeDedupMemory() {
  auto memory = std::make_shared<DedupMemory>();
  memory->cache = rocksdb::NewLRUCache(kCacheBytes);
  memory->writes = std::make_shared<rocksdb::WriteBufferManager>(kAllWriteBufferBytes);
  return memory;
}

DedupKey MakeDedupKey(std::string_view workspace_id, std::string_view source_id,
                      std::string_view message_id) {
  std::string text;
  text.reserve(workspace_id.size() + source_id.size() + message_id.size() + 2);
  text.append(workspace_id).append(1, '\0').append(source_id).append(1, '\0').append(message_id);
  return Sha256Prefix128(text);
}

std::string PackDedupEntries(const std::vector<DedupEntry>& entries) {
  std::string packed;
  packed.reserve(entries.size() * kEntryBytes);
  for (const DedupEntry& entry : entries) {
    packed.append(AsText(entry.key));
    packed.append(reinterpret_cast<const char*>(&entry.offset), 8);
    packed.append(reinterpret_cast<const char*>(&entry.seen_at_us), 8);
  }
  return packed;
}

Status UnpackDedupEntries(std::string_view packed, std::vector<DedupEntry>* entries) {
  if (packed.size() % kEntryBytes != 0) {
    return Error(StatusCode::kInternal, "a dedup changelog record has {} bytes", packed.size());
  }
  for (; !packed.empty(); packed.remove_prefix(kEntryBytes)) {
    DedupEntry& entry = entries->emplace_back();
    std::memcpy(entry.key.data(), packed.data(), 16);
    std::memcpy(&entry.offset, packed.data() + 16, 8);
    std::memcpy(&entry.seen_at_us, packed.data() + 24, 8);
  }
  return OkStatus();
}

DedupStore::DedupStore() = default;

StatusOr<std::unique_ptr<DedupStore>> DedupStore::Open(const Options& options) {
  MR_RETURN_IF_ERROR(MakeFolders(options.folder));
  std::unique_ptr<DedupStore> store(new DedupStore);
  store->filter_ = std::make_unique<WindowFilter>(options.window_us);
  store->memory_ = options.memory != nullptr ? options.memory : MakeDedupMemory();
  rocksdb::Options rocks;
  rocks.create_if_missing = true;
  rocks.compaction_filter = store->filter_.get();
  rocks.write_buffer_size = kWriteBufferBytes;
  rocks.write_buffer_manager = store->memory_->writes;
  rocks.memtable_whole_key_filtering = true;  // most ids are new: ask a bloom filter first
  rocks.memtable_prefix_bloom_size_ratio = 0.05;
  rocks.max_write_buffer_number = 2;
  rocks.max_open_files = 64;
  rocks.keep_log_file_num = 2;
  rocks.max_background_jobs = 2;
  rocks.info_log_level = rocksdb::WARN_LEVEL;
  rocks.periodic_compaction_seconds = static_cast<uint64_t>(options.window_us / 1'000'000);
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.block_cache = store->memory_->cache;
  rocks.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  rocksdb::DB* db = nullptr;
  MR_RETURN_IF_ERROR(FromRocks(rocksdb::DB::Open(rocks, options.folder, &db), options.folder));
  store->db_.reset(db);
  std::string value;
  const auto found = store->db_->Get(rocksdb::ReadOptions(), ToSlice(kChangelogKey), &value);
  if (!found.ok() && !found.IsNotFound()) return FromRocks(found, options.folder);
  if (found.ok() && value.size() == 8) std::memcpy(&store->changelog_offset_, value.data(), 8);
  return store;
}

Status DedupStore::Remove(const std::string& folder) {
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  if (!error) return OkStatus();
  return Error(StatusCode::kUnavailable, "removing {}: {}", folder, error.message());
}

DedupStore::~DedupStore() {
  if (db_ != nullptr) (void)db_->Close();  // waits for compactions, which use the filter
}

void DedupStore::WidenWindow(int64_t window_us) { filter_->Widen(window_us); }

StatusOr<std::vector<DedupEntry>> DedupStore::Find(const std::vector<DedupKey>& keys) const {
  std::vector<rocksdb::Slice> slices;
  slices.reserve(keys.size());
  for (const DedupKey& key : keys) slices.push_back(ToSlice(AsText(key)));
  std::vector<rocksdb::PinnableSlice> values(keys.size());
  std::vector<rocksdb::Status> statuses(keys.size());
  db_->MultiGet(rocksdb::ReadOptions(), db_->DefaultColumnFamily(), slices.size(), slices.data(),
                values.data(), statuses.data());
  std::vector<DedupEntry> entries(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    entries[i] = {.key = keys[i], .offset = -1};
    if (statuses[i].IsNotFound()) continue;
    MR_RETURN_IF_ERROR(FromRocks(statuses[i], "reading"));
    if (values[i].size() != 16) continue;
    std::memcpy(&entries[i].offset, values[i].data(), 8);
    std::memcpy(&entries[i].seen_at_us, values[i].data() + 8, 8);
  }
  return entries;
}

Status DedupStore::Apply(const std::vector<DedupEntry>& entries, int64_t changelog_offset) {
  // In the order of the keys, as neighbours are found faster; of equal ones the last counts.
  std::vector<const DedupEntry*> sorted;
  sorted.reserve(entries.size());
  for (const DedupEntry& entry : entries) sorted.push_back(&entry);
  std::stable_sort(sorted.begin(), sorted.end(), [](const DedupEntry* a, const DedupEntry* b) {
    return AsText(a->key) < AsText(b->key);
  });
  rocksdb::WriteBatch batch(entries.size() * 48 + 64);
  int64_t newest = 0;
  for (const DedupEntry* const sorted_entry : sorted) {
    const DedupEntry& entry = *sorted_entry;
    char value[16];
    std::memcpy(value, &entry.offset, 8);
    std::memcpy(value + 8, &entry.seen_at_us, 8);
    batch.Put(ToSlice(AsText(entry.key)), rocksdb::Slice(value, sizeof value));
    newest = std::max(newest, entry.seen_at_us);
  }
  if (changelog_offset >= 0) {
    batch.Put(ToSlice(kChangelogKey),
              rocksdb::Slice(reinterpret_cast<const char*>(&changelog_offset), 8));
  }
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  MR_RETURN_IF_ERROR(FromRocks(db_->Write(write, &batch), "writing"));
  filter_->Saw(newest);
  if (changelog_offset >= 0) changelog_offset_ = changelog_offset;
  return OkStatus();
}

Status DedupStore::Compact() {
  MR_RETURN_IF_ERROR(Flush());
  rocksdb::CompactRangeOptions whole;
  whole.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  return FromRocks(db_->CompactRange(whole, nullptr, nullptr), "compacting");
}

Status DedupStore::Flush() { return FromRocks(db_->Flush(rocksdb::FlushOptions()), "flushing"); }

}  // namespace millrace::processor
