#include "services/processor/dedup_stage.h"

#include <fmt/format.h>

#include <algorithm>

#include "libs/base/log.h"

namespace millrace::processor {
namespace {

constexpr size_t kEntriesPerCheckpoint = 50'000;

struct KeyHash {
  size_t operator()(const DedupKey& key) const { return key[0]; }  // of SHA-256 already
};

}  // namespace

int64_t DedupStage::WindowOf(std::string_view source_id) const {
  const auto found = windows_us_.find(source_id);
  return found == windows_us_.end() ? options_.default_window_us : found->second;
}

void DedupStage::SetWorkspace(const config::v1::Workspace& workspace) {
  windows_us_.clear();
  for (const auto& source : workspace.sources()) {
    if (source.dedup_window_s() != 0) {
      windows_us_[source.id()] = source.dedup_window_s() * 1'000'000;
    }
  }
}

Status DedupStage::Open(int32_t partition) {
  int64_t widest = options_.default_window_us;
  for (const auto& [source, window] : windows_us_) widest = std::max(widest, window);
  MR_ASSIGN_OR_RETURN(auto store,
                      DedupStore::Open({.folder = fmt::format("{}/{}", options_.folder, partition),
                                        .window_us = std::max<int64_t>(widest, 3'600'000'000)}));
  MR_RETURN_IF_ERROR(CatchUp(partition, store.get()));
  stores_[partition] = std::move(store);
  return OkStatus();
}

Status DedupStage::CatchUp(int32_t partition, DedupStore* store) {
  const std::string topic(event_log::kDedupTopic);
  MR_ASSIGN_OR_RETURN(const auto infos, log_.Describe(topic));
  int64_t begin = 0, end = 0;
  for (const auto& info : infos) {
    if (info.partition == partition) {
      begin = info.begin_offset;
      end = info.end_offset;
    }
  }
  int64_t at = std::max(begin, store->changelog_offset());
  if (at >= end) return OkStatus();
  MR_ASSIGN_OR_RETURN(const auto reader, log_.NewConsumer({}));
  const event_log::CommittedOffset position{.partition = {topic, partition}, .offset = at};
  MR_RETURN_IF_ERROR(reader->Assign({&position, 1}));
  size_t restored = 0;
  // Offsets of transactional topics have gaps at their ends; an empty poll at rest is the end too.
  for (int empty_polls = 0; at < end && empty_polls < 20;) {
    MR_ASSIGN_OR_RETURN(const auto batch, reader->Poll({.timeout = std::chrono::milliseconds(250)}));
    empty_polls = batch.records.empty() ? empty_polls + 1 : 0;
    std::vector<DedupEntry> entries;
    for (const auto& record : batch.records) {
      MR_RETURN_IF_ERROR(UnpackDedupEntries(record.value, &entries));
      at = record.offset + 1;
    }
    restored += entries.size();
    MR_RETURN_IF_ERROR(store->Apply(entries, at));
  }
  if (restored > 0) log::Info("dedup: partition {} caught up with {} ids", partition, restored);
  return OkStatus();
}

void DedupStage::Close(int32_t partition) {
  const auto found = stores_.find(partition);
  if (found == stores_.end()) return;
  Status status = Checkpoint(partition, found->second.get());
  if (status.ok()) status = found->second->Flush();
  if (!status.ok()) {
    log::Warning("dedup: partition {}: {}", partition, Message(status));
  }
  stores_.erase(found);
}

/// Only the partition's owner writes its changelog, so between two commits the store has all of it.
Status DedupStage::Checkpoint(int32_t partition, DedupStore* store) {
  MR_ASSIGN_OR_RETURN(const auto infos, log_.Describe(std::string(event_log::kDedupTopic)));
  for (const auto& info : infos) {
    if (info.partition == partition) return store->Apply({}, info.end_offset);
  }
  return OkStatus();
}

Status DedupStage::Run(EventBatch& batch) {
  fresh_.clear();
  std::map<int32_t, std::vector<Event*>> by_partition;
  for (Event& event : batch.events) {
    if (event.live() && WindowOf(event.meta.source_id()) > 0) {
      by_partition[event.partition].push_back(&event);
    }
  }
  for (auto& [partition, events] : by_partition) {
    const auto store = stores_.find(partition);
    if (store == stores_.end()) {
      return Error(StatusCode::kInternal, "no dedup store for partition {}", partition);
    }
    std::vector<DedupKey> keys;
    keys.reserve(events.size());
    for (const Event* event : events) {
      keys.push_back(MakeDedupKey(event->meta.workspace_id(), event->meta.source_id(),
                                  event->meta.message_id()));
    }
    MR_ASSIGN_OR_RETURN(const auto known, store->second->Find(keys));
    absl::flat_hash_map<DedupKey, int64_t, KeyHash> in_batch;  // key -> when seen
    for (size_t i = 0; i < events.size(); ++i) {
      Event& event = *events[i];
      const int64_t window = WindowOf(event.meta.source_id());
      const int64_t now = event.meta.received_at_us();
      const bool seen = known[i].offset >= 0 && known[i].offset != event.offset &&
                        now - known[i].seen_at_us <= window;
      if (seen || !in_batch.try_emplace(keys[i], now).second) {
        event.state = EventState::kDuplicate;
        event.reason = "duplicate";
        continue;
      }
      fresh_[partition].push_back({.key = keys[i], .offset = event.offset, .seen_at_us = now});
    }
  }
  return OkStatus();
}

std::map<int32_t, std::string> DedupStage::Changelog() const {
  std::map<int32_t, std::string> packed;
  for (const auto& [partition, entries] : fresh_) packed[partition] = PackDedupEntries(entries);
  return packed;
}

Status DedupStage::Committed() {
  for (const auto& [partition, entries] : fresh_) {
    const auto store = stores_.find(partition);
    if (store == stores_.end()) continue;
    MR_RETURN_IF_ERROR(store->second->Apply(entries, -1));
    size_t& waiting = since_checkpoint_[partition];
    waiting += entries.size();
    if (waiting < kEntriesPerCheckpoint) continue;
    waiting = 0;
    MR_RETURN_IF_ERROR(Checkpoint(partition, store->second.get()));
  }
  fresh_.clear();
  return OkStatus();
}

}  // namespace millrace::processor
