#include <algorithm>
#include <limits>
#include <set>

#include "libs/base/hash.h"
#include "libs/base/log.h"
#include "libs/event_log/local/log.h"

namespace millrace::event_log::local {
namespace {

constexpr size_t kSpareSegments = 2;
// So many dead bytes make an idle log leave the file that it writes.
constexpr uint64_t kWorthLeaving = 4 << 20;

}  // namespace

void LocalLog::FreeRead(Topic& topic, int32_t number) {
  if (topic.readers.empty()) return;
  const int64_t read = groups_.ReadByAll(topic.readers, {topic.id, number});
  Partition& partition = topic.partitions[static_cast<size_t>(number)];
  while (!partition.index.empty() && partition.index.front().end() <= read) {
    DropFront(topic, partition);
  }
}

void LocalLog::FreeOld() {
  const int64_t now_us = options_.clock->NowMicros();
  MutexLock lock(mu_);
  for (const auto& [id, topic] : topics_by_id_) {
    if (!topic->declared || !topic->readers.empty() || topic->retention_ms <= 0) continue;
    const int64_t old_before_us = now_us - topic->retention_ms * 1000;
    for (Partition& partition : topic->partitions) {
      while (!partition.index.empty() && partition.index.front().timestamp_us < old_before_us) {
        DropFront(*topic, partition);
      }
    }
  }
}

/// A group that does not read a topic any more (it was renamed, say) leaves its offsets behind.
void LocalLog::ForgetStrangers() {
  MutexLock lock(mu_);
  groups_.ForgetWhere([&](const std::string& group, PartitionKey key, const Commit& commit) {
    const auto found = topics_by_id_.find(key.first);
    if (found == topics_by_id_.end()) return true;
    const Topic& topic = *found->second;
    if (!topic.declared || std::ranges::count(topic.readers, group) > 0) return false;
    return commit.offset < topic.partitions[static_cast<size_t>(key.second)].begin;
  });
}

/// What is dead in the file that is written gives its disk back with the file alone.
bool LocalLog::WorthLeaving() const {
  if (active_ == nullptr) return false;
  const uint64_t needed = active_->live_bytes + checkpoint_bytes_;
  return active_->used > needed + std::min(kWorthLeaving, options_.segment_bytes / 4);
}

void LocalLog::Maintain(Why why) {
  const bool pressed = why == Why::kPressed;
  const bool idle = why == Why::kIdle;
  maintenance_due_ = false;
  next_maintenance_ = std::chrono::steady_clock::now() + options_.maintenance_interval;
  if (pressed || idle) MeasureDisk(0);
  FreeOld();
  ForgetStrangers();
  if (idle && WorthLeaving()) (void)Roll(0, Room::kAny);
  BeginFileIfNeeded();
  Retire();
  if (why != Why::kTime && RelocateSparsest(pressed)) Retire();
  if (idle) {
    for (const auto& segment : free_) Remove(*segment);
    MutexLock lock(mu_);
    free_.clear();
  }
  NoteRoom();
}

void LocalLog::Retire() {
  MutexLock lock(mu_);
  // What a file says of topics and offsets is needed until a later checkpoint is durable.
  if (active_ == nullptr || durable_sequence_ <= active_->first_sequence) return;
  std::vector<const Segment*> order;
  for (const auto& [id, segment] : segments_) order.push_back(segment.get());
  std::ranges::sort(order, {}, &Segment::epoch);
  // The file after one that failed says where that one ends.
  std::set<const Segment*> kept{active_};
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->failed) kept.insert(order[i]);
  }
  for (auto at = segments_.begin(); at != segments_.end();) {
    Segment& segment = *at->second;
    if (kept.contains(&segment) || segment.live_bytes > 0 || segment.pins > 0) {
      ++at;
      continue;
    }
    if (segment.failed || free_.size() >= kSpareSegments) {
      Remove(segment);
    } else {
      free_.push_back(std::move(at->second));
    }
    at = segments_.erase(at);
  }
}

// Not the oldest: one that is full of records which nobody reads would keep all behind it.
bool LocalLog::RelocateSparsest(bool pressed) {
  struct Move {
    Topic* topic;
    Partition* partition;
    IndexEntry entry;
  };
  std::vector<Move> moves;
  Segment* sparsest = nullptr;
  {
    MutexLock lock(mu_);
    for (const auto& [id, segment] : segments_) {
      if (segment.get() == active_ || segment->live_bytes == 0 || segment->damaged) continue;
      if (sparsest == nullptr || segment->live_bytes < sparsest->live_bytes)
        sparsest = segment.get();
    }
    const uint64_t most = options_.segment_bytes / 4 * (pressed ? 3 : 1);
    if (sparsest == nullptr || sparsest->live_bytes > most) return false;
    for (const auto& [id, topic] : topics_by_id_) {
      for (Partition& partition : topic->partitions) {
        for (const IndexEntry& entry : partition.index) {
          if (entry.segment == sparsest->id) moves.push_back({topic.get(), &partition, entry});
        }
      }
    }
  }
  std::string frame(format::kFrameHeaderBytes, '\0');
  std::vector<IndexEntry> moved;
  for (const Move& move : moves) {
    const size_t at = frame.size();
    frame.resize(at + move.entry.bytes);
    const auto read =
        ReadAt(sparsest->fd, frame.data() + at, move.entry.bytes, move.entry.position);
    format::OpReader ops(std::string_view(frame).substr(at));
    format::Op op;
    if (!read.ok() || !ops.Next(&op) || op.offset != move.entry.base || Crc32c(op.text) != op.crc) {
      log::Error("local log: {} is damaged and stays as it is", sparsest->path);
      sparsest->damaged = true;
      return RelocateSparsest(pressed);
    }
    frame[at] = static_cast<char>(format::OpKind::kRelocatedBlock);
    moved.push_back(move.entry);
    moved.back().position = static_cast<uint32_t>(at);
  }
  if (!MakeRoom(frame.size(), Room::kAny).ok()) return false;
  frame_ = std::move(frame);
  written_ = std::move(moved);
  if (!WriteFrame(true).ok()) return false;
  MutexLock lock(mu_);
  active_->relocated = true;
  for (size_t i = 0; i < moves.size(); ++i) {
    AddToIndex(*moves[i].topic, *moves[i].partition, written_[i]);
  }
  return true;
}

}  // namespace millrace::event_log::local
