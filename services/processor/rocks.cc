#include "services/processor/rocks.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "libs/base/file.h"
#include "libs/base/log.h"

namespace millrace::processor {
namespace {

// No key of a store is equal to one of these.
constexpr char kChangelogKey[] = "changelog-offset";
constexpr char kLogIdKey[] = "log-id";
constexpr std::array<std::string_view, 4> kNotes{kChangelogKey, kLogIdKey, Rocks::kCutNote,
                                                 Rocks::kSlicedNote};
constexpr size_t kLogLineBytes = 512;
constexpr size_t kLongestKey = 1024;
constexpr uint64_t kEntryOverhead = 8;  // of one entry on disk, beside key and value
constexpr size_t kCacheBytes = 8 << 20;
constexpr size_t kWriteBufferBytes = 8 << 20;  // of one store
constexpr size_t kSealedBufferBytes = 1 << 20;
constexpr size_t kAllWriteBufferBytes = 16 << 20;
constexpr size_t kWriteAheadBytes = 16 << 20;  // of one store: families are flushed beyond

/// Errors of RocksDB go to our log. Its own log is a file beside the store, and aborts the process
/// once the disk was full.
class RocksLogger final : public rocksdb::Logger {
 public:
  RocksLogger() : rocksdb::Logger(rocksdb::ERROR_LEVEL) {}
  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    char line[kLogLineBytes];
    (void)std::vsnprintf(line, sizeof line, format, arguments);
    std::string_view text(line);
    while (text.ends_with('\n')) text.remove_suffix(1);
    log::Warning("store: {}", text);
  }
};

rocksdb::ColumnFamilyOptions FamilyOptions(const Rocks::Options& options) {
  rocksdb::ColumnFamilyOptions rocks;
  rocks.write_buffer_size = kWriteBufferBytes;
  rocks.memtable_whole_key_filtering = true;  // most keys are new: ask a bloom filter first
  rocks.memtable_prefix_bloom_size_ratio = 0.05;
  rocks.max_write_buffer_number = 2;
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.block_cache = options.memory->cache;
  rocks.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return rocks;
}

/// Of a family that is only read.
rocksdb::ColumnFamilyOptions SealedOptions(const Rocks::Options& options) {
  rocksdb::ColumnFamilyOptions rocks = FamilyOptions(options);
  rocks.write_buffer_size = kSealedBufferBytes;
  rocks.memtable_prefix_bloom_size_ratio = 0;
  rocks.level0_file_num_compaction_trigger = 1;
  return rocks;
}

rocksdb::DBOptions DatabaseOptions(const Rocks::Options& options) {
  rocksdb::DBOptions rocks;
  rocks.create_if_missing = true;
  rocks.write_buffer_manager = options.memory->writes;
  rocks.max_open_files = 64;
  rocks.max_background_jobs = 2;
  rocks.info_log = std::make_shared<RocksLogger>();
  rocks.max_total_wal_size = kWriteAheadBytes;
  rocks.atomic_flush = !options.write_ahead;  // notes stand in another family than changes
  return rocks;
}

/// The families of the store in `folder`; none when there is no store.
std::vector<std::string> FamiliesOf(const std::string& folder) {
  std::vector<std::string> names;
  if (!rocksdb::DB::ListColumnFamilies(rocksdb::DBOptions(), folder, &names).ok()) names.clear();
  return names;
}

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
  store->options_ = options;
  if (store->options_.memory == nullptr) store->options_.memory = MakeStoreMemory();
  rocksdb::ColumnFamilyOptions first =
      options.sliced ? SealedOptions(store->options_) : FamilyOptions(store->options_);
  first.compaction_filter = options.filter;
  first.periodic_compaction_seconds = static_cast<uint64_t>(options.keep_s);
  std::vector<rocksdb::ColumnFamilyDescriptor> wanted{{rocksdb::kDefaultColumnFamilyName, first}};
  std::vector<std::string> names = FamiliesOf(options.folder);
  std::erase(names, rocksdb::kDefaultColumnFamilyName);
  std::ranges::sort(names);
  for (const std::string& name : names) {
    const bool newest = name == names.back();
    wanted.emplace_back(name,
                        newest ? FamilyOptions(store->options_) : SealedOptions(store->options_));
  }
  std::vector<Family*> families;
  rocksdb::DB* db = nullptr;
  MR_RETURN_IF_ERROR(FromRocks(
      rocksdb::DB::Open(DatabaseOptions(store->options_), options.folder, wanted, &families, &db),
      options.folder));
  store->db_.reset(db);
  store->default_ = families[0];
  for (size_t i = 1; i < families.size(); ++i) store->families_[wanted[i].name] = families[i];
  MR_RETURN_IF_ERROR(store->ReadNotes());
  return store;
}

Status Rocks::ReadNotes() {
  MR_ASSIGN_OR_RETURN(const int64_t offset, ReadNumber(kChangelogKey));
  changelog_offset_ = std::max<int64_t>(0, offset);
  const auto found = db_->Get(rocksdb::ReadOptions(), kLogIdKey, &log_id_);
  return found.IsNotFound() ? OkStatus() : FromRocks(found, options_.folder);
}

StatusOr<int64_t> Rocks::ReadNumber(std::string_view name) const {
  std::string value;
  const auto found =
      db_->Get(rocksdb::ReadOptions(), rocksdb::Slice(name.data(), name.size()), &value);
  if (found.IsNotFound()) return -1;
  MR_RETURN_IF_ERROR(FromRocks(found, options_.folder));
  int64_t number = -1;
  if (value.size() == sizeof number) std::memcpy(&number, value.data(), sizeof number);
  return number;
}

Status Rocks::WriteNumber(std::string_view name, int64_t number) {
  rocksdb::WriteBatch batch;
  const rocksdb::Slice value(reinterpret_cast<const char*>(&number), sizeof number);
  MR_RETURN_IF_ERROR(
      FromRocks(batch.Put(rocksdb::Slice(name.data(), name.size()), value), "writing"));
  return Write(batch, -1);
}

Status Rocks::NoteLogId(const std::string& log_id) {
  rocksdb::WriteBatch batch;
  MR_RETURN_IF_ERROR(FromRocks(batch.Put(kLogIdKey, log_id), "writing"));
  MR_RETURN_IF_ERROR(Write(batch, -1));
  log_id_ = log_id;
  return OkStatus();
}

Status Rocks::Note(int64_t changelog_offset) {
  rocksdb::WriteBatch batch;
  return Write(batch, changelog_offset);
}

Status Rocks::ClearDefault() {
  rocksdb::WriteBatch batch;
  std::vector<std::pair<std::string, std::string>> notes;
  for (const std::string_view name : kNotes) {
    std::string value;
    const auto found =
        db_->Get(rocksdb::ReadOptions(), rocksdb::Slice(name.data(), name.size()), &value);
    if (found.ok()) notes.emplace_back(name, std::move(value));
    if (!found.ok() && !found.IsNotFound()) return FromRocks(found, options_.folder);
  }
  const std::string last(kLongestKey, '\xff');
  MR_RETURN_IF_ERROR(FromRocks(batch.DeleteRange(default_, "", last), "writing"));
  for (const auto& [name, value] : notes) {
    MR_RETURN_IF_ERROR(FromRocks(batch.Put(name, value), "writing"));
  }
  return Write(batch, -1);
}

Status Rocks::Checked(const rocksdb::Status& status, std::string_view what) {
  fault_ = FromRocks(status, what);
  return fault_;
}

StatusOr<Rocks::Family*> Rocks::AddFamily(const std::string& name) {
  MR_RETURN_IF_ERROR(fault_);
  Family* family = nullptr;
  MR_RETURN_IF_ERROR(
      Checked(db_->CreateColumnFamily(FamilyOptions(options_), name, &family), name));
  families_[name] = family;
  return family;
}

Status Rocks::Seal(Family* family) {
  MR_RETURN_IF_ERROR(fault_);
  const rocksdb::ColumnFamilyOptions sealed = SealedOptions(options_);
  MR_RETURN_IF_ERROR(Checked(
      db_->SetOptions(family, {{"write_buffer_size", std::to_string(sealed.write_buffer_size)},
                               {"memtable_prefix_bloom_size_ratio", "0"},
                               {"level0_file_num_compaction_trigger", "1"}}),
      "sealing"));
  // Together with all others, as notes must not be ahead of what they are about.
  return Flush();
}

Status Rocks::DropFamily(const std::string& name) {
  MR_RETURN_IF_ERROR(fault_);
  const auto found = families_.find(name);
  if (found == families_.end()) return OkStatus();
  MR_RETURN_IF_ERROR(Checked(db_->DropColumnFamily(found->second), name));
  (void)db_->DestroyColumnFamilyHandle(found->second);
  families_.erase(found);
  return OkStatus();
}

uint64_t Rocks::BytesOf(Family* family) const {
  if (family == nullptr) family = default_;
  uint64_t on_disk = 0;
  uint64_t entries = 0;
  uint64_t memory = 0;
  (void)db_->GetIntProperty(family, rocksdb::DB::Properties::kTotalSstFilesSize, &on_disk);
  (void)db_->GetIntProperty(family, rocksdb::DB::Properties::kNumEntriesActiveMemTable, &entries);
  (void)db_->GetIntProperty(family, rocksdb::DB::Properties::kNumEntriesImmMemTables, &memory);
  return on_disk + (entries + memory) * (32 + kEntryOverhead);
}

Status Rocks::Remove(const std::string& folder) {
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  if (!error) return OkStatus();
  return Error(StatusCode::kUnavailable, "removing {}: {}", folder, error.message());
}

Rocks::~Rocks() {
  if (db_ == nullptr) return;
  for (const auto& [name, family] : families_) (void)db_->DestroyColumnFamilyHandle(family);
  if (default_ != nullptr) (void)db_->DestroyColumnFamilyHandle(default_);
  (void)db_->Close();  // waits for compactions, which use the filter
}

Status Rocks::Write(rocksdb::WriteBatch& batch, int64_t changelog_offset) {
  if (changelog_offset >= 0) {
    const rocksdb::Slice value(reinterpret_cast<const char*>(&changelog_offset), 8);
    MR_RETURN_IF_ERROR(FromRocks(batch.Put(kChangelogKey, value), "writing"));
  }
  rocksdb::WriteOptions write;
  write.disableWAL = !options_.write_ahead;
  MR_RETURN_IF_ERROR(fault_);
  MR_RETURN_IF_ERROR(Checked(db_->Write(write, &batch), "writing"));
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
  std::vector<Family*> all{default_};
  for (const auto& [name, family] : families_) all.push_back(family);
  MR_RETURN_IF_ERROR(fault_);
  return Checked(db_->Flush(rocksdb::FlushOptions(), all), "flushing");
}

Status Rocks::Sync() {
  MR_RETURN_IF_ERROR(fault_);
  return options_.write_ahead ? Checked(db_->SyncWAL(), "syncing") : Flush();
}

}  // namespace millrace::processor
