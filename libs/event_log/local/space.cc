#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "libs/base/log.h"
#include "libs/event_log/local/log.h"

namespace millrace::event_log::local {
namespace {

constexpr uint64_t kFirstGrowth = 256 << 10;  // an idle log stays small
constexpr uint64_t kGrowth = 4 << 20;
// A file is at least so many times as long as what it begins with, unless that is very long.
constexpr uint64_t kCheckpointsOfSegment = 16;
constexpr uint64_t kMostOfSegments = 4;
constexpr uint64_t kLongestSegment = 1 << 30;

}  // namespace

std::string LocalLog::SegmentPath(uint32_t id) const {
  return fmt::format("{}/{:08}.journal", options_.path, id);
}

uint64_t LocalLog::DiskUsed() const {
  uint64_t bytes = 0;
  for (const auto& [id, segment] : segments_) bytes += segment->allocated;
  for (const auto& segment : free_) bytes += segment->allocated;
  return bytes;
}

uint64_t LocalLog::InUse() const {
  uint64_t bytes = 0;
  for (const auto& [id, segment] : segments_) bytes += segment->allocated;
  return bytes;
}

void LocalLog::MeasureDisk(uint64_t besides) {
  const uint64_t free = options_.io->FreeBytes(options_.path);
  MutexLock lock(mu_);
  quota_.SetDisk(DiskUsed() + besides + free);
}

void LocalLog::NoteRoom() {
  MutexLock lock(mu_);
  quota_.NoteRoom(InUse(), kFirstGrowth, disk_full_);
}

/// A log of many topics begins its files with much, and so makes them longer.
uint64_t LocalLog::SegmentLimit() const {
  const uint64_t wanted =
      std::min(kCheckpointsOfSegment * checkpoint_bytes_, kMostOfSegments * options_.segment_bytes);
  return std::min(std::max({options_.segment_bytes, wanted, 2 * uint64_t{checkpoint_bytes_}}),
                  kLongestSegment);
}

Status LocalLog::MakeRoom(size_t bytes, Room room) {
  const auto make = [&]() -> Status {
    if (active_ == nullptr || active_->used + bytes > SegmentLimit()) return Roll(bytes, room);
    return Grow(*active_, active_->used + bytes, room);
  };
  Status status = make();
  if (status.code() != StatusCode::kResourceExhausted) return status;
  Maintain(Why::kPressed);
  status = make();
  if (status.code() == StatusCode::kResourceExhausted) {
    MutexLock lock(mu_);
    if (!quota_.Full(room) && !disk_full_) log::Warning("local log: {}", Message(status));
    quota_.MarkFull(room);
  }
  return status;
}

Status LocalLog::Grow(Segment& segment, uint64_t bytes, Room room) {
  if (bytes <= segment.allocated) return OkStatus();
  const bool counted = segments_.contains(segment.id);
  MeasureDisk(counted ? 0 : segment.allocated);
  const uint64_t step = segment.allocated == 0 ? kFirstGrowth : kGrowth;
  uint64_t target =
      std::max(bytes, std::min<uint64_t>(segment.allocated + step, options_.segment_bytes));
  const auto over = [&] {
    return DiskUsed() - (counted ? segment.allocated : 0) + target > quota_.LimitOf(room);
  };
  while (over() && !free_.empty()) {
    Remove(*free_.back());
    free_.pop_back();
  }
  if (over()) target = bytes;
  if (over() && room != Room::kAny) return quota_.Refusal();
  if (Status status = options_.io->Allocate(segment.fd, target); !status.ok()) {
    if (status.code() == StatusCode::kResourceExhausted && !disk_full_) {
      disk_full_ = true;
      log::Warning("{}: nothing is taken until there is room", Message(status));
    }
    return status;
  }
  if (disk_full_) log::Warning("local log: the disk has room again");
  disk_full_ = false;
  MutexLock lock(mu_);
  segment.allocated = target;
  return OkStatus();
}

StatusOr<std::unique_ptr<Segment>> LocalLog::NewSegment() {
  if (!free_.empty()) {
    std::unique_ptr<Segment> segment = std::move(free_.back());
    free_.pop_back();
    return segment;
  }
  auto segment = std::make_unique<Segment>();
  segment->id = next_segment_++;
  segment->path = SegmentPath(segment->id);
  MR_ASSIGN_OR_RETURN(segment->fd, options_.io->Open(segment->path));
  if (Status status = SyncFolder(options_.path); !status.ok()) {
    Remove(*segment);
    return status;
  }
  return segment;
}

Status LocalLog::Roll(size_t bytes, Room room) {
  BuildCheckpoint();
  MR_ASSIGN_OR_RETURN(std::unique_ptr<Segment> segment, NewSegment());
  if (Status status = Grow(*segment, frame_.size() + bytes, room); !status.ok()) {
    if (segment->allocated > 0) {
      free_.push_back(std::move(segment));
    } else {
      Remove(*segment);
    }
    return status;
  }
  segment->epoch = ++last_epoch_;
  segment->first_sequence = sequence_;
  segment->used = 0;
  segment->relocated = segment->damaged = false;
  {
    MutexLock lock(mu_);
    active_ = segment.get();
    segments_[segment->id] = std::move(segment);
  }
  maintenance_due_ = true;
  // Durable with the frame that follows, which is not answered before.
  return WriteFrame(false);
}

void LocalLog::BuildCheckpoint() {
  frame_.assign(format::kFrameHeaderBytes, '\0');
  written_.clear();
  MutexLock lock(mu_);
  format::PutOp(frame_, {.kind = format::OpKind::kCheckpoint, .count = next_topic_id_});
  for (const auto& [id, topic] : topics_by_id_) {
    format::PutOp(frame_, {.kind = format::OpKind::kTopic,
                           .topic_id = id,
                           .partition = static_cast<int32_t>(topic->partitions.size()),
                           .timestamp_us = topic->retention_ms,
                           .name = topic->name});
    for (size_t p = 0; p < topic->partitions.size(); ++p) {
      if (topic->partitions[p].end == 0) continue;
      format::PutOp(frame_, {.kind = format::OpKind::kBounds,
                             .topic_id = id,
                             .partition = static_cast<int32_t>(p),
                             .offset = topic->partitions[p].begin,
                             .end = topic->partitions[p].end});
    }
  }
  groups_.ForEachCommit([this](const std::string& group, PartitionKey key, const Commit& commit) {
    format::PutOp(frame_, {.kind = format::OpKind::kOffset,
                           .topic_id = key.first,
                           .partition = key.second,
                           .offset = commit.offset,
                           .name = group,
                           .text = commit.metadata});
  });
  checkpoint_bytes_ = frame_.size();
}

void LocalLog::AbandonActive() {
  MutexLock lock(mu_);
  Segment& failed = *std::exchange(active_, nullptr);
  sequence_ = durable_sequence_;  // the next file starts here and so overrules what failed
  failed.failed = true;
  if (failed.first_sequence < durable_sequence_) return;
  Remove(failed);  // none of it is durable
  segments_.erase(failed.id);
}

/// A log just opened, or whose disk failed, has no file whose checkpoint allows others to go.
void LocalLog::BeginFileIfNeeded() {
  {
    MutexLock lock(mu_);
    if (active_ != nullptr && active_->first_sequence < durable_sequence_) return;
    const auto empty = [](const auto& segment) { return segment.second->live_bytes == 0; };
    if (std::ranges::none_of(segments_, empty)) return;
  }
  if (active_ == nullptr && !Roll(0, Room::kAny).ok()) return;
  if (const Status status = options_.io->Sync(active_->fd); !status.ok()) {
    log::Error("{}; going on in a new journal file", Message(status));
    return AbandonActive();
  }
  durable_sequence_ = sequence_;
}

void LocalLog::Remove(Segment& segment) {
  ::close(segment.fd);
  if (std::remove(segment.path.c_str()) != 0) {
    log::Warning("local log: cannot remove {}", segment.path);
  }
}

}  // namespace millrace::event_log::local
