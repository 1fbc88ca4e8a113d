#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <set>
#include <utility>

#include "libs/base/hash.h"
#include "libs/base/log.h"
#include "libs/event_log/local/log.h"

namespace millrace::event_log::local {
namespace {

constexpr uint64_t kFirstGrowth = 256 << 10;  // an idle log stays small
constexpr uint64_t kGrowth = 4 << 20;
constexpr size_t kSpareSegments = 2;
// How much under its limit a full log is brought, so that the next record does not fill it again.
constexpr uint64_t kFreedSegments = 2;
// What is kept of the quota for each further Room: a quarter of it, or as many segments as this.
constexpr uint64_t kReservedSegments = 8;

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

uint64_t LocalLog::LimitOf(Room room) const {
  const uint64_t reserve = std::min(quota_ / 4, kReservedSegments * options_.segment_bytes);
  return quota_ - reserve * static_cast<uint64_t>(Room::kClosing) +
         reserve * static_cast<uint64_t>(room);
}

/// A disk with less room than the quota is the quota, so that it is never quite full.
void LocalLog::MeasureDisk(uint64_t besides) {
  const uint64_t free = options_.io->FreeBytes(options_.path);
  MutexLock lock(mu_);
  quota_ = std::min(options_.quota_bytes, DiskUsed() + besides + free);
}

/// Writes that may go far take the disk past the limit of those that may not, which are told here.
void LocalLog::NoteFull() {
  for (size_t room = 0; room < full_.size(); ++room) {
    if (full_[room] || InUse() <= LimitOf(static_cast<Room>(room))) continue;
    full_[room] = true;
    log::Warning("local log: {} of {} bytes are in use: {}", InUse(), quota_,
                 room == 0 ? "no new events are taken" : "events wait where they are");
  }
}

Status LocalLog::MakeRoom(size_t bytes, Room room) {
  const auto make = [&]() -> Status {
    if (active_ == nullptr || active_->used + bytes > options_.segment_bytes) {
      return Roll(bytes, room);
    }
    return Grow(*active_, active_->used + bytes, room);
  };
  Status status = make();
  if (status.code() != StatusCode::kResourceExhausted) return status;
  Maintain(true);
  status = make();
  if (status.code() == StatusCode::kResourceExhausted) {
    MutexLock lock(mu_);
    if (!Full(room)) log::Warning("local log: {}", Message(status));
    for (size_t i = 0; i <= static_cast<size_t>(room); ++i) full_[i] = true;
  }
  return status;
}

Status LocalLog::Grow(Segment& segment, uint64_t bytes, Room room) {
  if (bytes <= segment.allocated) return OkStatus();
  MeasureDisk(segments_.contains(segment.id) ? 0 : segment.allocated);
  const uint64_t step = segment.allocated == 0 ? kFirstGrowth : kGrowth;
  uint64_t target =
      std::max(bytes, std::min<uint64_t>(segment.allocated + step, options_.segment_bytes));
  const auto over = [&] {
    return DiskUsed() -
               (segment.fd >= 0 && segments_.contains(segment.id) ? segment.allocated : 0) +
               target >
           LimitOf(room);
  };
  while (over() && !free_.empty()) {
    Remove(*free_.back());
    free_.pop_back();
  }
  if (over()) target = bytes;
  if (over() && room != Room::kAny) return QuotaReached();
  MR_RETURN_IF_ERROR(options_.io->Allocate(segment.fd, target));
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
      format::PutOp(frame_, {.kind = format::OpKind::kBounds,
                             .topic_id = id,
                             .partition = static_cast<int32_t>(p),
                             .offset = topic->partitions[p].begin,
                             .end = topic->partitions[p].end});
    }
  }
  for (const auto& [name, group] : groups_) {
    for (const auto& [key, commit] : group->committed) {
      format::PutOp(frame_, {.kind = format::OpKind::kOffset,
                             .topic_id = key.first,
                             .partition = key.second,
                             .offset = commit.offset,
                             .name = name,
                             .text = commit.metadata});
    }
  }
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

LocalLog::Readable LocalLog::WhatIsRead(const Topic& topic, int32_t number) const {
  Readable readable;
  readable.read = std::numeric_limits<int64_t>::max();
  for (const std::string& name : topic.readers) {
    const auto group = groups_.find(name);
    const bool reads =
        group != groups_.end() && group->second->committed.contains({topic.id, number});
    readable.read =
        std::min(readable.read, reads ? group->second->committed.at({topic.id, number}).offset : 0);
    readable.grouped = true;
  }
  if (readable.grouped) return readable;
  for (const auto& [name, group] : groups_) {
    const auto commit = group->committed.find({topic.id, number});  // there since it subscribed
    if (commit == group->committed.end()) continue;
    readable.read = std::min(readable.read, commit->second.offset);
    readable.grouped = true;
  }
  return readable;
}

/// How many of its first blocks were moved into the active file and keep those behind them in older
/// ones.
size_t LocalLog::RelocatedInFront(const Partition& partition) const {
  if (active_ == nullptr || !active_->relocated) return 0;
  const auto other = std::ranges::find_if(
      partition.index, [this](const IndexEntry& entry) { return entry.segment != active_->id; });
  return other == partition.index.end() ? 0 : static_cast<size_t>(other - partition.index.begin());
}

std::vector<LocalLog::Readable> LocalLog::WhatIsRead() {
  const int64_t now_us = options_.clock->NowMicros();
  std::vector<Readable> readable;
  for (const auto& [id, topic] : topics_by_id_) {
    const int64_t retention_us =
        (topic->retention_ms > 0 ? topic->retention_ms : options_.retention.count()) * 1000;
    for (size_t p = 0; p < topic->partitions.size(); ++p) {
      Readable& one = readable.emplace_back(WhatIsRead(*topic, static_cast<int32_t>(p)));
      one.topic = topic.get();
      one.partition = &topic->partitions[p];
      one.old_before_us =
          topic->readers.empty() ? now_us - retention_us : std::numeric_limits<int64_t>::max();
    }
  }
  return readable;
}

void LocalLog::TrimOld(const Readable& of) {
  TrimWhile(of, [&](const IndexEntry& entry) { return entry.timestamp_us < of.old_before_us; });
}

void LocalLog::TrimPressed(const Readable& of, const Segment& pressed) {
  if (!of.grouped) return;
  size_t in_front = RelocatedInFront(*of.partition);
  TrimWhile(of, [&](const IndexEntry& entry) {
    if (in_front == 0) return entry.segment == pressed.id;
    --in_front;
    return true;
  });
}

template <typename MayGo>
void LocalLog::TrimWhile(const Readable& of, MayGo may_go) {
  Partition& partition = *of.partition;
  while (!partition.index.empty()) {
    const IndexEntry& entry = partition.index.front();
    if (entry.end() > of.read || !may_go(entry)) return;
    DropFront(*of.topic, partition);
  }
}

/// Under pressure the oldest files go first, and only as many as make room for the next records.
void LocalLog::TrimRead(bool pressed) {
  MutexLock lock(mu_);
  const std::vector<Readable> readable = WhatIsRead();
  for (const Readable& one : readable) TrimOld(one);
  if (!pressed) return;
  std::vector<const Segment*> sealed;
  uint64_t in_use = 0;
  for (const auto& [id, segment] : segments_) {
    if (segment.get() != active_) sealed.push_back(segment.get());
    if (segment.get() == active_ || segment->live_bytes > 0) in_use += segment->allocated;
  }
  std::ranges::sort(sealed, {}, &Segment::epoch);
  for (const Segment* segment : sealed) {
    if (in_use + kFreedSegments * options_.segment_bytes <= LimitOf(Room::kNew)) return;
    if (segment->live_bytes == 0) continue;
    for (const Readable& one : readable) TrimPressed(one, *segment);
    if (segment->live_bytes == 0) in_use -= segment->allocated;
  }
}

void LocalLog::Maintain(bool pressed) {
  maintenance_due_ = false;
  if (pressed) MeasureDisk(0);
  TrimRead(pressed);
  if (pressed) BeginFileIfNeeded();
  Retire();
  if (RelocateSparsest(pressed)) Retire();
  MutexLock lock(mu_);
  for (size_t room = 0; room < full_.size(); ++room) {
    if (InUse() + kFirstGrowth <= LimitOf(static_cast<Room>(room))) full_[room] = false;
  }
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
