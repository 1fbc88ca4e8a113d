#include "services/processor/dedup_stage.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>

#include "libs/base/ids.h"
#include "libs/base/log.h"

namespace millrace::processor {
namespace {

constexpr int64_t kNarrowestKept = 3'600'000'000;  // us; a window may be widened later
constexpr auto kAppendPatience = std::chrono::seconds(60);
constexpr int kEmptyPolls = 120;  // of half a second: how long the changelog may stand still
constexpr event_log::PollLimits kCatchUpLimits{.timeout = std::chrono::milliseconds(500)};

struct KeyHash {
  size_t operator()(const DedupKey& key) const { return key[0]; }  // of SHA-256 already
};

}  // namespace

std::string DedupStage::FolderOf(int32_t partition) const {
  return fmt::format("{}/{}", options_.folder, partition);
}

int64_t DedupStage::WindowOf(std::string_view source_id) const {
  const auto found = windows_us_.find(source_id);
  return found == windows_us_.end() ? options_.default_window_us : found->second;
}

void DedupStage::SetWorkspace(const config::v1::Workspace& workspace) {
  windows_us_.clear();
  widest_window_us_ = std::max(kNarrowestKept, options_.default_window_us);
  for (const auto& source : workspace.sources()) {
    if (source.dedup_window_s() == 0) continue;
    const int64_t window = source.dedup_window_s() * 1'000'000;
    windows_us_[source.id()] = window;
    widest_window_us_ = std::max(widest_window_us_, window);
  }
  for (auto& [number, partition] : partitions_) partition.store->WidenWindow(widest_window_us_);
}

Status DedupStage::Open(int32_t partition) {
  Close(partition);
  auto store = OpenCaughtUp(partition);
  if (store.status().code() == StatusCode::kDataLoss) {
    log::Warning("dedup: partition {} is made anew from the changelog: {}", partition,
                 Message(store.status()));
    MR_RETURN_IF_ERROR(DedupStore::Remove(FolderOf(partition)));
    store = OpenCaughtUp(partition);
  }
  MR_RETURN_IF_ERROR(store.status());
  partitions_[partition].store = *std::move(store);
  return OkStatus();
}

StatusOr<std::unique_ptr<DedupStore>> DedupStage::OpenCaughtUp(int32_t partition) {
  MR_ASSIGN_OR_RETURN(
      auto store,
      DedupStore::Open(
          {.folder = FolderOf(partition),
           .window_us = std::max({widest_window_us_, options_.default_window_us, kNarrowestKept}),
           .memory = options_.memory}));
  MR_RETURN_IF_ERROR(CatchUp(partition, *store));
  return store;
}

/// Appends a record that nobody else knows. Whoever reads up to it has read all that came before,
/// also of a transaction that was still open: the log shows nothing behind that until it has ended.
StatusOr<std::string> DedupStage::AppendFence(int32_t partition) {
  if (appender_ == nullptr) {
    MR_ASSIGN_OR_RETURN(appender_, log_.NewAppender());
  }
  const std::string fence = NewUuid();
  const event_log::TopicRecord record{.topic = event_log::kDedupTopic,
                                      .record = {.meta = fence, .partition = partition}};
  const auto answer = std::make_shared<std::promise<Status>>();
  appender_->Append({&record, 1},
                    [answer](Status status) { answer->set_value(std::move(status)); });
  auto done = answer->get_future();
  if (done.wait_for(kAppendPatience) != std::future_status::ready) {
    return Error(StatusCode::kUnavailable, "the dedup changelog takes no records");
  }
  MR_RETURN_IF_ERROR(done.get());
  return fence;
}

Status DedupStage::CatchUp(int32_t partition, DedupStore& store) {
  const std::string topic(event_log::kDedupTopic);
  MR_ASSIGN_OR_RETURN(const std::string fence, AppendFence(partition));
  MR_ASSIGN_OR_RETURN(const auto infos, log_.Describe(topic));
  int64_t begin = 0;
  int64_t end = 0;
  for (const auto& info : infos) {
    if (info.partition != partition) continue;
    begin = info.begin_offset;
    end = info.end_offset;
  }
  if (store.changelog_offset() > end) {
    return Error(StatusCode::kDataLoss, "the store knows a longer changelog than there is");
  }
  MR_ASSIGN_OR_RETURN(const auto reader, log_.NewConsumer({}));
  const event_log::CommittedOffset position{.partition = {topic, partition},
                                            .offset = std::max(begin, store.changelog_offset())};
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
    std::vector<DedupEntry> entries;
    for (const auto& record : batch.records) {
      MR_RETURN_IF_ERROR(UnpackDedupEntries(record.value, &entries));
      at_fence = at_fence || record.meta == fence;
    }
    restored += entries.size();
    MR_RETURN_IF_ERROR(store.Apply(entries, batch.records.back().offset + 1));
    if (!at_fence) continue;
    if (restored > 0) log::Info("dedup: partition {} read {} ids again", partition, restored);
    return OkStatus();
  }
  return Error(StatusCode::kUnavailable,
               "the dedup changelog of partition {} cannot be read to its end", partition);
}

void DedupStage::Close(int32_t partition) {
  const auto found = partitions_.find(partition);
  if (found == partitions_.end()) return;
  if (const Status status = found->second.store->Flush(); !status.ok()) {
    log::Warning("dedup: partition {}: {}", partition, Message(status));
  }
  partitions_.erase(found);
}

void DedupStage::CloseAll() {
  while (!partitions_.empty()) Close(partitions_.begin()->first);
}

Status DedupStage::Run(EventBatch& batch) {
  std::map<int32_t, std::vector<Event*>> by_partition;
  for (auto& [number, partition] : partitions_) partition.fresh.clear();
  for (Event& event : batch.events) {
    // What comes back out of the dead letters was let through before it failed.
    if (event.live() && !event.meta.has_redrive() && WindowOf(event.meta.source_id()) > 0) {
      by_partition[event.partition].push_back(&event);
    }
  }
  for (auto& [number, events] : by_partition) {
    const auto found = partitions_.find(number);
    if (found == partitions_.end()) {
      return Error(StatusCode::kInternal, "no dedup store for partition {}", number);
    }
    const Status status = Judge(events, found->second);
    if (status.code() == StatusCode::kDataLoss) {
      partitions_.erase(found);
      MR_RETURN_IF_ERROR(DedupStore::Remove(FolderOf(number)));
    }
    MR_RETURN_IF_ERROR(status);
  }
  return OkStatus();
}

Status DedupStage::Judge(std::vector<Event*>& events, Partition& partition) {
  std::vector<DedupKey> keys;
  keys.reserve(events.size());
  for (const Event* event : events) {
    keys.push_back(MakeDedupKey(event->meta.workspace_id(), event->meta.source_id(),
                                event->meta.message_id()));
  }
  MR_ASSIGN_OR_RETURN(const auto known, partition.store->Find(keys));
  absl::flat_hash_map<DedupKey, int64_t, KeyHash> in_batch;  // key -> when seen
  for (size_t i = 0; i < events.size(); ++i) {
    Event& event = *events[i];
    const int64_t window = WindowOf(event.meta.source_id());
    const int64_t now = event.meta.received_at_us();
    bool seen = known[i].offset >= 0 && known[i].offset != event.offset &&
                now - known[i].seen_at_us <= window;
    if (const auto earlier = in_batch.find(keys[i]); earlier != in_batch.end()) {
      seen = seen || now - earlier->second <= window;
    }
    if (seen) {
      event.state = EventState::kDuplicate;
      event.reason = "duplicate";
      continue;
    }
    in_batch[keys[i]] = now;
    partition.fresh.push_back({.key = keys[i], .offset = event.offset, .seen_at_us = now});
  }
  return OkStatus();
}

StatusOr<int64_t> DedupStage::ChangelogEnd(int32_t partition) {
  MR_ASSIGN_OR_RETURN(const auto infos, log_.Describe(std::string(event_log::kDedupTopic)));
  for (const auto& info : infos) {
    if (info.partition == partition) return info.end_offset;
  }
  return Error(StatusCode::kInternal, "topic 'dedup' has no partition {}", partition);
}

StatusOr<std::map<int32_t, std::string>> DedupStage::Changelog() {
  std::map<int32_t, std::string> packed;
  for (auto& [number, partition] : partitions_) {
    if (partition.fresh.empty()) continue;
    packed[number] = PackDedupEntries(partition.fresh);
    // What stands in the changelog now is all in the store: the transaction that follows commits
    // only if nobody else has become the partition's owner, so nobody else has written.
    if (partition.since_checkpoint >= options_.entries_per_checkpoint) {
      MR_ASSIGN_OR_RETURN(partition.checkpoint_offset, ChangelogEnd(number));
    }
  }
  return packed;
}

Status DedupStage::Committed() {
  for (auto& [number, partition] : partitions_) {
    if (partition.fresh.empty()) continue;
    MR_RETURN_IF_ERROR(partition.store->Apply(partition.fresh, partition.checkpoint_offset));
    partition.since_checkpoint += partition.fresh.size();
    if (partition.checkpoint_offset >= 0) partition.since_checkpoint = partition.fresh.size();
    partition.checkpoint_offset = -1;
    partition.fresh.clear();
  }
  return OkStatus();
}

}  // namespace millrace::processor
