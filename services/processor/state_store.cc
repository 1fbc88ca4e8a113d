#include "services/processor/state_store.h"

#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace millrace::processor {
namespace {

constexpr char kKeyTag = 's';  // first byte of every key: no other key of the store has it
constexpr size_t kRecordBytes = 512 << 10;
constexpr int64_t kDeleted = -1;

rocksdb::Slice ToSlice(std::string_view text) {
  return {text.data(), text.size()};
}

void AppendNumber(std::string& out, int64_t number) {
  out.append(reinterpret_cast<const char*>(&number), 8);
}

bool TakeNumber(std::string_view& in, int64_t* number) {
  if (in.size() < 8) return false;
  std::memcpy(number, in.data(), 8);
  in.remove_prefix(8);
  return true;
}

bool TakeText(std::string_view& in, std::string_view* text) {
  int64_t size = 0;
  if (!TakeNumber(in, &size) || size < 0 || static_cast<size_t>(size) > in.size()) return false;
  *text = in.substr(0, static_cast<size_t>(size));
  in.remove_prefix(text->size());
  return true;
}

int64_t EndOf(std::string_view value) {
  int64_t ends_us = 0;
  return TakeNumber(value, &ends_us) ? ends_us : 0;
}

}  // namespace

/// Drops what has expired, by the newest time at which the store was written: no clock is asked.
class StateStore::ExpiryFilter final : public rocksdb::CompactionFilter {
 public:
  const char* Name() const override { return "millrace.state.expiry"; }
  bool Filter(int, const rocksdb::Slice& key, const rocksdb::Slice& value, std::string*,
              bool*) const override {
    return !key.empty() && key[0] == kKeyTag &&
           EndOf({value.data(), value.size()}) <= now_us_.load(std::memory_order_relaxed);
  }
  void Saw(int64_t now_us) { now_us_ = std::max(now_us_.load(), now_us); }

 private:
  std::atomic<int64_t> now_us_{0};
};

std::string StateKey(std::string_view workspace_id, std::string_view key) {
  std::string full(1, kKeyTag);
  full.append(workspace_id).append(1, '\0').append(key);
  return full;
}

std::vector<std::string> PackStateChanges(const StateChanges& changes) {
  std::vector<std::string> records;
  for (const auto& [key, change] : changes) {
    if (records.empty() || records.back().size() > kRecordBytes) records.emplace_back();
    std::string& out = records.back();
    AppendNumber(out, static_cast<int64_t>(key.size()));
    out += key;
    AppendNumber(out, change.json.has_value() ? change.ends_us : kDeleted);
    if (!change.json.has_value()) continue;
    AppendNumber(out, static_cast<int64_t>(change.json->size()));
    out += *change.json;
  }
  return records;
}

Status UnpackStateChanges(std::string_view packed, StateChanges* changes) {
  while (!packed.empty()) {
    std::string_view key;
    std::string_view json;
    StateChange change;
    bool good = TakeText(packed, &key) && TakeNumber(packed, &change.ends_us);
    if (good && change.ends_us != kDeleted) {
      good = TakeText(packed, &json);
      change.json = json;
    }
    if (!good)
      return Error(StatusCode::kInternal, "a record of the state's changelog cannot be read");
    (*changes)[std::string(key)] = std::move(change);
  }
  return OkStatus();
}

StateStore::StateStore() = default;
StateStore::~StateStore() = default;

StatusOr<std::unique_ptr<StateStore>> StateStore::Open(const Options& options) {
  std::unique_ptr<StateStore> store(new StateStore);
  store->filter_ = std::make_unique<ExpiryFilter>();
  MR_ASSIGN_OR_RETURN(store->rocks_, Rocks::Open({.folder = options.folder,
                                                  .filter = store->filter_.get(),
                                                  .keep_s = options.longest_s,
                                                  .memory = options.memory,
                                                  .write_ahead = options.write_ahead}));
  return store;
}

StateStore::Moment StateStore::Now() const {
  rocksdb::DB& db = rocks_->db();
  return {db.GetSnapshot(),
          [&db](const rocksdb::Snapshot* snapshot) { db.ReleaseSnapshot(snapshot); }};
}

StatusOr<StateChange> StateStore::Get(std::string_view full_key, const Moment& moment) const {
  rocksdb::PinnableSlice value;
  rocksdb::DB& db = rocks_->db();
  rocksdb::ReadOptions options;
  options.snapshot = moment.get();
  const auto found = db.Get(options, db.DefaultColumnFamily(), ToSlice(full_key), &value);
  StateChange change;
  if (found.IsNotFound()) return change;
  MR_RETURN_IF_ERROR(FromRocks(found, "reading"));
  std::string_view text(value.data(), value.size());
  if (TakeNumber(text, &change.ends_us)) change.json = text;
  return change;
}

Status StateStore::Apply(const StateChanges& changes, int64_t now_us, int64_t changelog_offset) {
  rocksdb::WriteBatch batch;
  for (const auto& [key, change] : changes) {
    if (!change.json.has_value()) {
      MR_RETURN_IF_ERROR(FromRocks(batch.Delete(ToSlice(key)), "writing"));
      continue;
    }
    std::string value;
    AppendNumber(value, change.ends_us);
    value += *change.json;
    MR_RETURN_IF_ERROR(FromRocks(batch.Put(ToSlice(key), value), "writing"));
  }
  filter_->Saw(now_us);
  return rocks_->Write(batch, changelog_offset);
}

StatusOr<int64_t> StateStore::Count(std::string_view workspace_id, int64_t now_us) const {
  const std::string prefix = StateKey(workspace_id, "");
  int64_t bytes = 0;
  const std::unique_ptr<rocksdb::Iterator> at(rocks_->db().NewIterator(rocksdb::ReadOptions()));
  for (at->Seek(prefix); at->Valid() && at->key().starts_with(prefix); at->Next()) {
    if (EndOf({at->value().data(), at->value().size()}) <= now_us) continue;
    bytes += static_cast<int64_t>(at->key().size() - prefix.size() + at->value().size() - 8);
  }
  MR_RETURN_IF_ERROR(FromRocks(at->status(), "counting"));
  return bytes;
}

Status StateStore::Restore(const event_log::RecordBatch& records, int64_t next) {
  StateChanges changes;
  int64_t written_us = 0;
  for (const auto& record : records.records) {
    MR_RETURN_IF_ERROR(UnpackStateChanges(record.value, &changes));
    written_us = std::max(written_us, record.appended_at_us);
  }
  return Apply(changes, written_us, next);
}

}  // namespace millrace::processor
