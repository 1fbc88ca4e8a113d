#include "services/processor/dedup_store.h"

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "libs/base/hash.h"

namespace millrace::processor {
namespace {

constexpr size_t kEntryBytes = 32;
constexpr int64_t kSlices = 4;  // of a window, and of the bytes: so much finer than both they go
constexpr size_t kEntriesPerMeasure = 10'000;
constexpr std::string_view kSliceName = "slice.";

rocksdb::Slice ToSlice(std::string_view text) {
  return {text.data(), text.size()};
}
std::string_view AsText(const DedupKey& key) {
  return {reinterpret_cast<const char*>(key.data()), sizeof(DedupKey)};
}

}  // namespace

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

DedupStore::DedupStore(const Options& options)
    : max_bytes_(options.max_bytes), window_us_(options.window_us) {}

StatusOr<std::unique_ptr<DedupStore>> DedupStore::Open(const Options& options) {
  std::unique_ptr<DedupStore> store(new DedupStore(options));
  MR_ASSIGN_OR_RETURN(store->rocks_, Rocks::Open({.folder = options.folder,
                                                  .memory = options.memory,
                                                  .write_ahead = options.write_ahead,
                                                  .sliced = true}));
  MR_RETURN_IF_ERROR(store->ReadSlices());
  return store;
}

Status DedupStore::ReadSlices() {
  MR_ASSIGN_OR_RETURN(const int64_t sliced, rocks_->ReadNumber(Rocks::kSlicedNote));
  MR_ASSIGN_OR_RETURN(const int64_t cut, rocks_->ReadNumber(Rocks::kCutNote));
  cut_us_ = std::max<int64_t>(0, cut);
  if (sliced < 0 && rocks_->changelog_offset() > 0) {
    slices_.push_back({});  // an older version's
  } else if (sliced < 0) {
    MR_RETURN_IF_ERROR(rocks_->WriteNumber(Rocks::kSlicedNote, 1));
  }
  for (const auto& [name, family] : rocks_->families()) {  // names are in the order of time
    if (name.rfind(kSliceName, 0) != 0) continue;
    Slice slice{.name = name, .family = family};
    const char* const number = name.data() + kSliceName.size();
    std::from_chars(number, name.data() + name.size(), slice.start_us);
    newest_us_ = std::max(newest_us_, slice.start_us);
    slices_.push_back(std::move(slice));
  }
  return OkStatus();
}

void DedupStore::WidenWindow(int64_t window_us) {
  window_us_ = std::max(window_us_, window_us);
}

Status DedupStore::BeginSlice(int64_t start_us) {
  Slice slice{.start_us = start_us, .name = fmt::format("{}{:020}", kSliceName, start_us)};
  if (!slices_.empty() && !slices_.back().name.empty()) {
    MR_RETURN_IF_ERROR(rocks_->Seal(slices_.back().family));
  }
  MR_ASSIGN_OR_RETURN(slice.family, rocks_->AddFamily(slice.name));
  slices_.push_back(std::move(slice));
  return OkStatus();
}

Status DedupStore::DropOldest() {
  const Slice oldest = slices_.front();
  slices_.erase(slices_.begin());
  if (!oldest.name.empty()) return rocks_->DropFamily(oldest.name);
  MR_RETURN_IF_ERROR(rocks_->ClearDefault());
  return rocks_->WriteNumber(Rocks::kSlicedNote, 1);
}

/// What is older than the window goes, and a new slice begins when it is time.
Status DedupStore::DropOld(int64_t now_us) {
  while (slices_.size() > 1 && slices_[1].start_us + window_us_ < now_us) {
    MR_RETURN_IF_ERROR(DropOldest());
  }
  const bool full = !slices_.empty() && slices_.back().start_us + window_us_ / kSlices <= now_us;
  if (!slices_.empty() && !slices_.back().name.empty() && !full) return OkStatus();
  return BeginSlice(slices_.empty() ? now_us : std::max(now_us, slices_.back().start_us + 1));
}

/// As DropOld, for the bytes.
Status DedupStore::DropOverfull() {
  if (max_bytes_ == 0) return OkStatus();
  if (rocks_->BytesOf(slices_.back().family) >= max_bytes_ / kSlices) {
    MR_RETURN_IF_ERROR(BeginSlice(std::max(newest_us_, slices_.back().start_us + 1)));
  }
  const int64_t cut_before = cut_us_;
  // Of what is full: room for the slice that begins, so that the bound holds until it is full too.
  while (slices_.size() > 1 && Bytes() + max_bytes_ / kSlices > max_bytes_) {
    cut_us_ = slices_[1].start_us;
    MR_RETURN_IF_ERROR(DropOldest());
  }
  return cut_us_ == cut_before ? OkStatus() : rocks_->WriteNumber(Rocks::kCutNote, cut_us_);
}

uint64_t DedupStore::Bytes() const {
  uint64_t bytes = 0;
  for (const Slice& slice : slices_) bytes += rocks_->BytesOf(slice.family);
  return bytes;
}

int64_t DedupStore::CoveredUs() const {
  if (cut_us_ == 0) return window_us_;
  return std::clamp<int64_t>(newest_us_ - cut_us_, 0, window_us_);
}

StatusOr<std::vector<DedupEntry>> DedupStore::Find(const std::vector<DedupKey>& keys) const {
  std::vector<DedupEntry> entries(keys.size());
  std::vector<size_t> left(keys.size());  // whose entry is not found yet
  for (size_t i = 0; i < keys.size(); ++i) {
    entries[i] = {.key = keys[i], .offset = -1};
    left[i] = i;
  }
  rocksdb::DB& db = rocks_->db();
  for (auto slice = slices_.rbegin(); slice != slices_.rend() && !left.empty(); ++slice) {
    std::vector<rocksdb::Slice> wanted;
    wanted.reserve(left.size());
    for (const size_t i : left) wanted.push_back(ToSlice(AsText(keys[i])));
    std::vector<rocksdb::PinnableSlice> values(left.size());
    std::vector<rocksdb::Status> statuses(left.size());
    auto* const family = slice->family == nullptr ? db.DefaultColumnFamily() : slice->family;
    db.MultiGet(rocksdb::ReadOptions(), family, wanted.size(), wanted.data(), values.data(),
                statuses.data());
    std::vector<size_t> missing;
    for (size_t at = 0; at < left.size(); ++at) {
      if (!statuses[at].IsNotFound()) MR_RETURN_IF_ERROR(FromRocks(statuses[at], "reading"));
      if (statuses[at].IsNotFound() || values[at].size() != 16) {
        missing.push_back(left[at]);
        continue;
      }
      std::memcpy(&entries[left[at]].offset, values[at].data(), 8);
      std::memcpy(&entries[left[at]].seen_at_us, values[at].data() + 8, 8);
    }
    left = std::move(missing);
  }
  return entries;
}

Status DedupStore::Apply(const std::vector<DedupEntry>& entries, int64_t changelog_offset) {
  rocksdb::WriteBatch batch(entries.size() * 48 + 64);
  if (!entries.empty()) {
    // By the oldest of them: a clock that runs ahead for some events costs none of the window.
    const auto [oldest, newest] = std::minmax_element(
        entries.begin(), entries.end(),
        [](const auto& a, const auto& b) { return a.seen_at_us < b.seen_at_us; });
    MR_RETURN_IF_ERROR(DropOld(oldest->seen_at_us));
    newest_us_ = std::max(newest_us_, newest->seen_at_us);
    since_measured_ += entries.size();
    if (since_measured_ >= std::min(kEntriesPerMeasure, max_bytes_ / (kSlices * kEntryBytes * 4))) {
      since_measured_ = 0;
      MR_RETURN_IF_ERROR(DropOverfull());
    }
  }
  // In the order of the keys, as neighbours are found faster; of equal ones the last counts.
  std::vector<const DedupEntry*> sorted;
  sorted.reserve(entries.size());
  for (const DedupEntry& entry : entries) sorted.push_back(&entry);
  std::stable_sort(sorted.begin(), sorted.end(), [](const DedupEntry* a, const DedupEntry* b) {
    return AsText(a->key) < AsText(b->key);
  });
  for (const DedupEntry* const entry : sorted) {
    char value[16];
    std::memcpy(value, &entry->offset, 8);
    std::memcpy(value + 8, &entry->seen_at_us, 8);
    MR_RETURN_IF_ERROR(FromRocks(batch.Put(slices_.back().family, ToSlice(AsText(entry->key)),
                                           rocksdb::Slice(value, sizeof value)),
                                 "writing"));
  }
  return rocks_->Write(batch, changelog_offset);
}

Status DedupStore::Restore(const event_log::RecordBatch& records, int64_t next) {
  std::vector<DedupEntry> entries;
  for (const auto& record : records.records) {
    MR_RETURN_IF_ERROR(UnpackDedupEntries(record.value, &entries));
  }
  return Apply(entries, next);
}

}  // namespace millrace::processor
