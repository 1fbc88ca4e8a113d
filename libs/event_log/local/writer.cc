#include <algorithm>
#include <limits>

#include "libs/base/hash.h"
#include "libs/base/log.h"
#include "libs/event_log/local/consumer.h"
#include "libs/event_log/local/log.h"

namespace millrace::event_log::local {
namespace {

constexpr size_t kSpareBuffers = 64;
constexpr size_t kSpareBytes = 512 << 10;

}  // namespace

void LocalLog::Run() {
  for (;;) {
    Batch batch;
    std::vector<std::pair<Waiter, Status>> refused;
    {
      MutexLock lock(mu_);
      const auto ready = [this] { return stop_ || !queue_.empty() || !refused_.empty(); };
      if (!ready()) {
        writer_waits_ = true;
        work_.wait_for(lock.native(), options_.maintenance_interval, ready);
        writer_waits_ = false;
      }
      if (!ready()) {
        spare_buffers_ = {};
        frame_ = {};
      } else if (queue_.empty() && refused_.empty()) {
        return;
      }
      if (!queue_.empty()) {
        batch = std::move(queue_.front());
        queue_.pop_front();
      }
      refused.swap(refused_);
    }
    if (batch.waiters.empty() && refused.empty()) {
      Maintain(quota_.Pressed() ? Why::kPressed : Why::kIdle);
      continue;
    }
    Work(std::move(batch), std::move(refused));
  }
}

void LocalLog::Work(Batch batch, std::vector<std::pair<Waiter, Status>> refused) {
  Status data;
  Status other;
  if (!batch.waiters.empty()) {
    data = other = Write(batch, true);
    if (data.code() == StatusCode::kResourceExhausted) other = Write(batch, false);
  }
  if (other.ok()) Apply(batch, data.ok());
  bool pressed = false;
  {
    MutexLock lock(mu_);
    quota_.NoteUse(InUse());
    pressed = quota_.Pressed();
  }
  // Before the answers: once a commit is answered there is the room that it freed.
  if (pressed) Maintain(Why::kPressed);
  Answer(batch.waiters, data, other);
  for (auto& [waiter, status] : refused) waiter.done(std::move(status));

  {
    MutexLock lock(mu_);
    in_flight_ -= batch.bytes;
    bool drained = false;
    const auto count = [&drained](const Waiter& waiter) {
      if (waiter.appender != nullptr) drained |= --waiter.appender->outstanding == 0;
    };
    for (const Waiter& waiter : batch.waiters) count(waiter);
    for (const auto& [waiter, status] : refused) count(waiter);
    if (drained) drained_.notify_all();
    for (StagedBlock& block : batch.blocks) {
      if (spare_buffers_.size() >= kSpareBuffers || block.records.capacity() > kSpareBytes)
        continue;
      block.records.clear();
      spare_buffers_.push_back(std::move(block.records));
    }
  }
  if (maintenance_due_) {
    Maintain(pressed ? Why::kPressed : Why::kChange);
  } else if (std::chrono::steady_clock::now() >= next_maintenance_) {
    Maintain(Why::kTime);
  }
}

void LocalLog::Answer(std::vector<Waiter>& waiters, const Status& data, const Status& other) {
  for (Waiter& waiter : waiters) waiter.done(waiter.with_records ? data : other);
}

Status LocalLog::Write(const Batch& batch, bool with_records) {
  const bool has_records = with_records && !batch.blocks.empty();
  if (!has_records && batch.offsets.empty() && batch.topics.empty() && batch.trims.empty()) {
    return OkStatus();
  }
  if (has_records) {
    MutexLock lock(mu_);
    if (quota_.Full(batch.room)) return quota_.Refusal();
  }
  BuildFrame(batch, with_records);
  if (frame_.size() == format::kFrameHeaderBytes) return OkStatus();
  MR_RETURN_IF_ERROR(MakeRoom(frame_.size(), has_records ? batch.room : Room::kAny));
  BuildFrame(batch, with_records);  // making room may have used the buffer
  return WriteFrame(true);
}

void LocalLog::BuildFrame(const Batch& batch, bool with_records) {
  frame_.assign(format::kFrameHeaderBytes, '\0');
  written_.clear();
  if (with_records) {
    const int64_t now_us = options_.clock->NowMicros();
    std::map<PartitionKey, int64_t> next;
    for (const StagedBlock& block : batch.blocks) {
      const PartitionKey key{block.topic->id, block.partition};
      const auto at =
          next.try_emplace(key, block.topic->partitions[static_cast<size_t>(block.partition)].end);
      IndexEntry& entry = written_.emplace_back();
      entry.base = at.first->second;
      entry.count = block.count;
      entry.timestamp_us = now_us;
      entry.position = static_cast<uint32_t>(frame_.size());
      format::PutOp(frame_, {.kind = format::OpKind::kBlock,
                             .topic_id = key.first,
                             .partition = key.second,
                             .offset = entry.base,
                             .timestamp_us = now_us,
                             .count = block.count,
                             .crc = Crc32c(block.records),
                             .text = block.records});
      entry.bytes = static_cast<uint32_t>(frame_.size()) - entry.position;
      at.first->second += block.count;
    }
  }
  for (const TopicChange& change : batch.topics) {
    if (!change.written) continue;
    const Topic& topic = *change.topic;
    format::PutOp(frame_,
                  {.kind = change.deleted ? format::OpKind::kTopicDeleted : format::OpKind::kTopic,
                   .topic_id = topic.id,
                   .partition = static_cast<int32_t>(topic.partitions.size()),
                   .timestamp_us = change.options.retention.count(),
                   .name = topic.name});
  }
  for (const TrimChange& change : batch.trims) {
    const Partition& partition = change.topic->partitions[static_cast<size_t>(change.partition)];
    format::PutOp(frame_, {.kind = format::OpKind::kBounds,
                           .topic_id = change.topic->id,
                           .partition = change.partition,
                           .offset = change.before,
                           .end = partition.end});
  }
  for (const OffsetChange& change : batch.offsets) {
    if (change.with_records && !with_records) continue;
    format::PutOp(frame_, {.kind = format::OpKind::kOffset,
                           .topic_id = change.key.first,
                           .partition = change.key.second,
                           .offset = change.commit.offset,
                           .name = change.group,
                           .text = change.commit.metadata});
  }
}

Status LocalLog::WriteFrame(bool sync) {
  if (frame_.size() > std::numeric_limits<uint32_t>::max() - active_->used) {
    return Error(StatusCode::kInternal, "local log: a frame of {} bytes", frame_.size());
  }
  format::FinishFrame(frame_, active_->epoch, sequence_);
  Status status = options_.io->Write(active_->fd, frame_, active_->used);
  if (status.ok() && sync) status = options_.io->Sync(active_->fd);
  if (!status.ok()) {
    log::Error("{}; going on in a new journal file", Message(status));
    AbandonActive();
    const bool full = status.code() == StatusCode::kResourceExhausted;
    return full ? status : MakeStatus(StatusCode::kUnavailable, Message(status));
  }
  for (IndexEntry& entry : written_) {
    entry.segment = active_->id;
    entry.position += static_cast<uint32_t>(active_->used);
  }
  active_->used += frame_.size();
  ++sequence_;
  if (sync) durable_sequence_ = sequence_;
  return OkStatus();
}

void LocalLog::Apply(const Batch& batch, bool with_records) {
  MutexLock lock(mu_);
  if (with_records && !batch.blocks.empty()) {
    for (size_t i = 0; i < batch.blocks.size(); ++i) {
      const StagedBlock& block = batch.blocks[i];
      if (block.topic->deleted) continue;
      Partition& partition = block.topic->partitions[static_cast<size_t>(block.partition)];
      AddToIndex(*block.topic, partition, written_[i]);
      for (LocalConsumer* reader : partition.readers) reader->Signal();
    }
  }
  for (const OffsetChange& change : batch.offsets) {
    if (change.with_records && !with_records) continue;
    const auto topic = topics_by_id_.find(change.key.first);
    if (topic == topics_by_id_.end()) continue;
    groups_.SetCommitted(change.group, change.key, change.commit);
    FreeRead(*topic->second, change.key.second);
  }
  for (const TrimChange& change : batch.trims) {
    if (change.topic->deleted) continue;
    TrimBefore(*change.topic, change.topic->partitions[static_cast<size_t>(change.partition)],
               change.before);
  }
  for (const TopicChange& change : batch.topics) ApplyTopic(change);
  maintenance_due_ |= !batch.trims.empty() || !batch.topics.empty();
}

}  // namespace millrace::event_log::local
