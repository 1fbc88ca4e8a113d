#include "services/processor/dedup_store.h"

#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "libs/base/hash.h"

namespace millrace::processor {
namespace {

constexpr size_t kEntryBytes = 32;

rocksdb::Slice ToSlice(std::string_view text) {
  return {text.data(), text.size()};
}
std::string_view AsText(const DedupKey& key) {
  return {reinterpret_cast<const char*>(key.data()), sizeof(DedupKey)};
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
DedupStore::~DedupStore() = default;

StatusOr<std::unique_ptr<DedupStore>> DedupStore::Open(const Options& options) {
  std::unique_ptr<DedupStore> store(new DedupStore);
  store->filter_ = std::make_unique<WindowFilter>(options.window_us);
  MR_ASSIGN_OR_RETURN(store->rocks_, Rocks::Open({.folder = options.folder,
                                                  .filter = store->filter_.get(),
                                                  .keep_s = options.window_us / 1'000'000,
                                                  .memory = options.memory}));
  return store;
}

void DedupStore::WidenWindow(int64_t window_us) {
  filter_->Widen(window_us);
}

StatusOr<std::vector<DedupEntry>> DedupStore::Find(const std::vector<DedupKey>& keys) const {
  std::vector<rocksdb::Slice> slices;
  slices.reserve(keys.size());
  for (const DedupKey& key : keys) slices.push_back(ToSlice(AsText(key)));
  std::vector<rocksdb::PinnableSlice> values(keys.size());
  std::vector<rocksdb::Status> statuses(keys.size());
  rocksdb::DB& db = rocks_->db();
  db.MultiGet(rocksdb::ReadOptions(), db.DefaultColumnFamily(), slices.size(), slices.data(),
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
  MR_RETURN_IF_ERROR(rocks_->Write(batch, changelog_offset));
  filter_->Saw(newest);
  return OkStatus();
}

Status DedupStore::Restore(const event_log::RecordBatch& records, int64_t next) {
  std::vector<DedupEntry> entries;
  for (const auto& record : records.records) {
    MR_RETURN_IF_ERROR(UnpackDedupEntries(record.value, &entries));
  }
  return Apply(entries, next);
}

}  // namespace millrace::processor
