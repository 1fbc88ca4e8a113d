#include "services/processor/partition_stores.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>

#include "libs/base/ids.h"
#include "libs/base/log.h"
#include "services/processor/rocks.h"

namespace millrace::processor {
namespace {

constexpr auto kAppendPatience = std::chrono::seconds(60);
constexpr int kEmptyPolls = 120;  // of half a second: how long the changelog may stand still
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
    log::Warning("{}: partition {} is made anew from the changelog: {}", options_.name, partition,
                 Message(store.status()));
    MR_RETURN_IF_ERROR(Rocks::Remove(FolderOf(partition)));
    store = OpenCaughtUp(partition);
  }
  MR_RETURN_IF_ERROR(store.status());
  partitions_[partition].store = *std::move(store);
  return OkStatus();
}

StatusOr<std::unique_ptr<ChangelogStore>> PartitionStores::OpenCaughtUp(int32_t partition) {
  MR_ASSIGN_OR_RETURN(auto store, options_.open(FolderOf(partition)));
  MR_RETURN_IF_ERROR(CatchUp(partition, *store));
  return store;
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
  if (done.wait_for(kAppendPatience) != std::future_status::ready) {
    return Error(StatusCode::kUnavailable, "the {} changelog takes no records", options_.name);
  }
  MR_RETURN_IF_ERROR(done.get());
  return fence;
}

StatusOr<event_log::PartitionInfo> PartitionStores::Describe(int32_t partition) {
  MR_ASSIGN_OR_RETURN(const auto infos, log_.Describe(std::string(options_.topic)));
  for (const auto& info : infos) {
    if (info.partition == partition) return info;
  }
  return Error(StatusCode::kInternal, "topic '{}' has no partition {}", options_.topic, partition);
}

Status PartitionStores::CatchUp(int32_t partition, ChangelogStore& store) {
  MR_ASSIGN_OR_RETURN(const std::string fence, AppendFence(partition));
  MR_ASSIGN_OR_RETURN(const auto info, Describe(partition));
  if (store.changelog_offset() > info.end_offset) {
    return Error(StatusCode::kDataLoss, "the store knows a longer changelog than there is");
  }
  MR_ASSIGN_OR_RETURN(const auto reader, log_.NewConsumer({}));
  const event_log::CommittedOffset position{
      .partition = {std::string(options_.topic), partition},
      .offset = std::max(info.begin_offset, store.changelog_offset())};
  MR_RETURN_IF_ERROR(reader->Assign({&position, 1}));
  size_t restored = 0;
  for (int empty_polls = 0; empty_polls < kEmptyPolls;) {
    MR_ASSIGN_OR_RETURN(const auto batch, reader->Poll(kCatchUpLimits));
    if (batch.records.empty()) {
      ++empty_polls;
      continue;
    }
    empty_polls = 0;
    bool at_fence = false;
    for (const auto& record : batch.records) {
      at_fence = at_fence || record.meta == fence;
      restored += record.value.empty() ? 0 : 1;
    }
    MR_RETURN_IF_ERROR(store.Restore(batch, batch.records.back().offset + 1));
    if (!at_fence) continue;
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
  if (const Status status = found->second.store->Flush(); !status.ok()) {
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

Status PartitionStores::BeginChanges(int32_t partition) {
  Partition& changed = partitions_.at(partition);
  // What stands in the changelog now is all in the store: the transaction that follows commits only
  // if nobody else has become the partition's owner, so nobody else has written.
  if (changed.since_checkpoint < options_.changes_per_checkpoint) return OkStatus();
  MR_ASSIGN_OR_RETURN(const auto info, Describe(partition));
  changed.checkpoint_offset = info.end_offset;
  return OkStatus();
}

int64_t PartitionStores::Checkpoint(int32_t partition) const {
  return partitions_.at(partition).checkpoint_offset;
}

void PartitionStores::EndChanges(int32_t partition, size_t changes) {
  Partition& changed = partitions_.at(partition);
  changed.since_checkpoint += changes;
  if (changed.checkpoint_offset >= 0) changed.since_checkpoint = changes;
  changed.checkpoint_offset = -1;
}

}  // namespace millrace::processor
