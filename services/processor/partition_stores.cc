#include "services/processor/partition_stores.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <utility>

#include "libs/base/ids.h"
#include "libs/base/log.h"

namespace millrace::processor {
namespace {

constexpr int kAppendPatience = 300;  // steps
constexpr std::chrono::milliseconds kAppendStep{200};
constexpr int kEmptyPolls = 120;  // how long the changelog may stand still
constexpr event_log::PollLimits kCatchUpLimits{.timeout = std::chrono::milliseconds(500)};

}  // namespace

std::string PartitionStores::FolderOf(int32_t partition) const {
  return fmt::format("{}/{}", options_.folder, partition);
}

ChangelogStore* PartitionStores::Find(int32_t partition) const {
  const auto found = partitions_.find(partition);
  return found == partitions_.end() ? nullptr : found->second.store.get();
}

Status PartitionStores::Open(int32_t partition) {
  Close(partition);
  auto store = OpenCaughtUp(partition);
  if (store.status().code() == StatusCode::kDataLoss) {
    log::Warning("{}: partition {} begins anew with what the changelog has: {}", options_.name,
                 partition, Message(store.status()));
    MR_RETURN_IF_ERROR(Rocks::Remove(FolderOf(partition)));
    store = OpenCaughtUp(partition);
  }
  MR_RETURN_IF_ERROR(store.status());
  // What the changelog has is in the store: it goes with the next trim, changes or not.
  partitions_[partition] = {
      .store = *std::move(store), .since_checkpoint = 1, .trimmed_at = clock_.Monotonic()};
  return OkStatus();
}

StatusOr<std::unique_ptr<ChangelogStore>> PartitionStores::OpenCaughtUp(int32_t partition) {
  MR_ASSIGN_OR_RETURN(auto store, options_.open(FolderOf(partition)));
  MR_RETURN_IF_ERROR(CheckLog(*store));
  MR_RETURN_IF_ERROR(CatchUp(partition, *store));
  return store;
}

Status PartitionStores::CheckLog(ChangelogStore& store) {
  MR_ASSIGN_OR_RETURN(const std::string id, log_.Id());
  Rocks& rocks = store.rocks();
  if (rocks.log_id() == id) return OkStatus();
  if (!rocks.log_id().empty()) {
    return Error(StatusCode::kDataLoss, "the store belongs to another log ('{}', this is '{}')",
                 rocks.log_id(), id);
  }
  return rocks.NoteLogId(id);
}

/// Appends a record that nobody else knows. Whoever reads up to it has read all that came before,
/// also of a transaction that was still open: the log shows nothing behind that until it has ended.
StatusOr<std::string> PartitionStores::AppendFence(int32_t partition) {
  if (appender_ == nullptr) {
    MR_ASSIGN_OR_RETURN(appender_, log_.NewAppender());
  }
  const std::string fence = NewUuid();
  const event_log::TopicRecord record{.topic = options_.topic,
                                      .record = {.meta = fence, .partition = partition}};
  const auto answer = std::make_shared<std::promise<Status>>();
  appender_->Append({&record, 1},
                    [answer](Status status) { answer->set_value(std::move(status)); });
  auto done = answer->get_future();
  for (int step = 0; step < kAppendPatience && !stop_.stop_requested(); ++step) {
    if (done.wait_for(kAppendStep) != std::future_status::ready) continue;
    MR_RETURN_IF_ERROR(done.get());
    return fence;
  }
  return Error(StatusCode::kUnavailable, "the {} changelog takes no records", options_.name);
}

StatusOr<event_log::PartitionInfo> PartitionStores::Describe(int32_t partition) {
  MR_ASSIGN_OR_RETURN(const auto infos, log_.Describe(std::string(options_.topic)));
  for (const auto& info : infos) {
    if (info.partition == partition) return info;
  }
  return Error(StatusCode::kInternal, "topic '{}' has no partition {}", options_.topic, partition);
}

Status PartitionStores::CatchUp(int32_t partition, ChangelogStore& store) {
  MR_ASSIGN_OR_RETURN(const auto info, Describe(partition));
  const int64_t applied = store.rocks().changelog_offset();
  if (applied > info.end_offset) {
    return Error(StatusCode::kDataLoss, "the store knows a longer changelog than there is");
  }
  if (!options_.beside_log) {
    MR_ASSIGN_OR_RETURN(const std::string fence, AppendFence(partition));
    return ReadTo(partition, store, std::max(info.begin_offset, applied), -1, fence);
  }
  if (applied < info.begin_offset) {
    log::Warning(
        "{}: the store of partition {} is new or older than the log: what it held is forgotten",
        options_.name, partition);
  }
  // Nothing is open here: what an earlier process had not committed went with it.
  const int64_t begin = std::max(info.begin_offset, applied);
  if (begin >= info.end_offset) return OkStatus();
  return ReadTo(partition, store, begin, info.end_offset, "");
}

/// Applies the changelog from `begin` to before `end`, or to the fence when there is one.
Status PartitionStores::ReadTo(int32_t partition, ChangelogStore& store, int64_t begin, int64_t end,
                               const std::string& fence) {
  MR_ASSIGN_OR_RETURN(const auto reader, log_.NewConsumer({}));
  const event_log::CommittedOffset position{.partition = {std::string(options_.topic), partition},
                                            .offset = begin};
  MR_RETURN_IF_ERROR(reader->Assign({&position, 1}));
  size_t restored = 0;
  for (int empty_polls = 0; empty_polls < kEmptyPolls && !stop_.stop_requested();) {
    MR_ASSIGN_OR_RETURN(const auto batch, reader->Poll(kCatchUpLimits));
    if (batch.records.empty()) {
      ++empty_polls;
      continue;
    }
    empty_polls = 0;
    const int64_t next = batch.records.back().offset + 1;
    bool at_end = fence.empty() && next >= end;
    for (const auto& record : batch.records) {
      at_end = at_end || (!fence.empty() && record.meta == fence);
      restored += record.value.empty() ? 0 : 1;
    }
    MR_RETURN_IF_ERROR(store.Restore(batch, next));
    if (!at_end) continue;
    if (restored > 0) {
      log::Info("{}: partition {} read {} batches of changes again", options_.name, partition,
                restored);
    }
    return OkStatus();
  }
  return Error(StatusCode::kUnavailable,
               "the {} changelog of partition {} cannot be read to its end", options_.name,
               partition);
}

void PartitionStores::Close(int32_t partition) {
  const auto found = partitions_.find(partition);
  if (found == partitions_.end()) return;
  if (const Status status = found->second.store->rocks().Flush(); !status.ok()) {
    log::Warning("{}: partition {}: {}", options_.name, partition, Message(status));
  }
  partitions_.erase(found);
}

void PartitionStores::CloseAll() {
  while (!partitions_.empty()) Close(partitions_.begin()->first);
}

Status PartitionStores::Remove(int32_t partition) {
  partitions_.erase(partition);
  return Rocks::Remove(FolderOf(partition));
}

bool PartitionStores::IsDue(const Partition& partition) const {
  if (partition.since_checkpoint >= options_.changes_per_checkpoint) return true;
  return options_.beside_log && partition.since_checkpoint > 0 &&
         clock_.Monotonic() - partition.trimmed_at >= options_.trim_interval;
}

Status PartitionStores::BeginChanges(int32_t partition) {
  Partition& changed = partitions_.at(partition);
  // What stands in the changelog now is all in the store: the transaction that follows commits only
  // if nobody else has become the partition's owner, so nobody else has written.
  if (!IsDue(changed)) return OkStatus();
  MR_ASSIGN_OR_RETURN(const auto info, Describe(partition));
  changed.checkpoint_offset = info.end_offset;
  return OkStatus();
}

int64_t PartitionStores::Checkpoint(int32_t partition) const {
  return partitions_.at(partition).checkpoint_offset;
}

Status PartitionStores::EndChanges(int32_t partition, size_t changes) {
  Partition& changed = partitions_.at(partition);
  changed.since_checkpoint += changes;
  const int64_t noted = std::exchange(changed.checkpoint_offset, -1);
  if (noted < 0) return OkStatus();
  changed.since_checkpoint = changes;
  return options_.beside_log ? Trim(partition, changed, noted) : OkStatus();
}

/// The store has noted `before`.
Status PartitionStores::Trim(int32_t number, Partition& partition, int64_t before) {
  MR_RETURN_IF_ERROR(partition.store->rocks().Sync());
  partition.trimmed_at = clock_.Monotonic();
  const Status trimmed = log_.Trim({std::string(options_.topic), number}, before);
  if (!trimmed.ok()) {  // the next trims more
    log::Warning("{}: partition {}: {}", options_.name, number, Message(trimmed));
  }
  return OkStatus();
}

Status PartitionStores::Idle() {
  if (!options_.beside_log) return OkStatus();
  for (auto& [number, partition] : partitions_) {
    if (!IsDue(partition)) continue;
    // While its store is open here nobody else appends to the partition's changelog.
    MR_ASSIGN_OR_RETURN(const auto info, Describe(number));
    MR_RETURN_IF_ERROR(partition.store->rocks().Note(info.end_offset));
    partition.since_checkpoint = 0;
    MR_RETURN_IF_ERROR(Trim(number, partition, info.end_offset));
  }
  return OkStatus();
}

}  // namespace millrace::processor
