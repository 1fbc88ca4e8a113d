#include "libs/event_log/local/consumer.h"

#include <algorithm>
#include <map>

#include "libs/base/hash.h"
#include "libs/base/log.h"

namespace millrace::event_log::local {
namespace {

constexpr size_t kLongestMetadata = 4000;

}  // namespace

LocalConsumer::~LocalConsumer() {
  MutexLock lock(log_.mu());
  Leave();
}

void LocalConsumer::Listen(const Position& position, bool on) {
  std::vector<LocalConsumer*>& readers = position.state().readers;
  std::erase(readers, this);
  if (on) readers.push_back(this);
}

void LocalConsumer::Leave() {
  for (const auto& position : positions_) Listen(*position, false);
  positions_.clear();
  target_.clear();
  if (group_ == nullptr) return;
  std::erase(group_->members, this);
  std::erase_if(group_->owners, [this](const auto& owner) { return owner.second == this; });
  log_.Reassign(*group_);
  group_ = nullptr;
}

void LocalConsumer::Signal() {
  signalled_ = true;
  if (waits_) ready_.notify_one();
}

void LocalConsumer::SetTarget(std::set<PartitionKey> target) {
  target_ = std::move(target);
  retarget_ = true;
  Signal();
}

void LocalConsumer::Wake() {
  MutexLock lock(log_.mu());
  woken_ = true;
  Signal();
}

Status LocalConsumer::Subscribe(std::vector<std::string> topics) {
  if (options_.group.empty()) {
    return Error(StatusCode::kInternal, "a consumer without a group cannot subscribe");
  }
  MutexLock lock(log_.mu());
  for (const std::string& topic : topics) {
    if (log_.FindTopic(topic) == nullptr) {
      return Error(StatusCode::kNotFound, "no topic '{}'", topic);
    }
  }
  topics_ = std::move(topics);
  if (group_ == nullptr) {
    group_ = &log_.groups().Named(options_.group);
    group_->members.push_back(this);
  }
  log_.Reassign(*group_);
  return OkStatus();
}

Status LocalConsumer::Assign(std::span<const CommittedOffset> positions) {
  MutexLock lock(log_.mu());
  std::vector<std::unique_ptr<Position>> assigned;
  for (const CommittedOffset& at : positions) {
    std::shared_ptr<Topic> topic = log_.FindTopic(at.partition.topic);
    if (topic == nullptr || at.partition.partition < 0 ||
        at.partition.partition >= static_cast<int32_t>(topic->partitions.size())) {
      return Error(StatusCode::kNotFound, "no partition {} of topic '{}'", at.partition.partition,
                   at.partition.topic);
    }
    auto position = std::make_unique<Position>();
    position->topic = std::move(topic);
    position->partition = at.partition.partition;
    position->next = at.offset == -2 ? position->state().end : at.offset;
    assigned.push_back(std::move(position));
  }
  Leave();
  positions_ = std::move(assigned);
  for (const auto& position : positions_) Listen(*position, true);
  return OkStatus();
}

LocalConsumer::Position* LocalConsumer::Find(const TopicPartition& partition) {
  for (const auto& position : positions_) {
    if (position->partition == partition.partition && position->topic->name == partition.topic) {
      return position.get();
    }
  }
  return nullptr;
}

void LocalConsumer::Pause(const TopicPartition& partition) {
  MutexLock lock(log_.mu());
  Position* const position = Find(partition);
  if (position == nullptr) return;
  position->paused = true;
  Listen(*position, false);
}

void LocalConsumer::Resume(const TopicPartition& partition) {
  MutexLock lock(log_.mu());
  Position* const position = Find(partition);
  if (position == nullptr) return;
  position->paused = false;
  Listen(*position, true);
}

Status LocalConsumer::Seek(const TopicPartition& partition, int64_t offset) {
  MutexLock lock(log_.mu());
  Position* const position = Find(partition);
  if (position == nullptr) {
    return Error(StatusCode::kFailedPrecondition, "partition {} of '{}' is not assigned",
                 partition.partition, partition.topic);
  }
  position->next = offset == -2 ? position->state().end : offset;
  position->block = {};
  return OkStatus();
}

StatusOr<std::vector<OffsetChange>> LocalConsumer::Changes(
    std::span<const CommittedOffset> offsets) {
  MutexLock lock(log_.mu());
  std::vector<OffsetChange> changes;
  for (const CommittedOffset& offset : offsets) {
    const Position* const position = Find(offset.partition);
    if (group_ == nullptr || position == nullptr) {
      return Error(StatusCode::kFailedPrecondition, "partition {} of '{}' is not this consumer's",
                   offset.partition.partition, offset.partition.topic);
    }
    if (offset.offset < 0 || offset.metadata.size() > kLongestMetadata) {
      return Error(StatusCode::kInvalidArgument, "offset {} with {} bytes of metadata",
                   offset.offset, offset.metadata.size());
    }
    changes.push_back({group_->name, position->key(), {offset.offset, offset.metadata}, false});
  }
  return changes;
}

Status LocalConsumer::CheckOwned(std::span<const OffsetChange> offsets) const {
  for (const OffsetChange& offset : offsets) {
    const bool owned = group_ != nullptr && group_->owners.contains(offset.key) &&
                       group_->owners.at(offset.key) == this;
    if (!owned) {
      return Error(StatusCode::kFailedPrecondition, "partition {} is no longer this consumer's",
                   offset.key.second);
    }
  }
  return OkStatus();
}

Status LocalConsumer::Commit(std::span<const CommittedOffset> offsets) {
  if (offsets.empty()) return OkStatus();
  MR_ASSIGN_OR_RETURN(std::vector<OffsetChange> changes, Changes(offsets));
  return log_.CommitOffsets(*this, std::move(changes));
}

void LocalConsumer::Rebalance(MutexLock& lock) {
  while (retarget_) {
    retarget_ = false;
    const std::set<PartitionKey> target = target_;
    GiveUp(lock, target);
    TakeOver(lock);
  }
}

void LocalConsumer::GiveUp(MutexLock& lock, const std::set<PartitionKey>& target) {
  std::vector<TopicPartition> lost;
  for (const auto& position : positions_) {
    if (!target.contains(position->key())) lost.push_back(position->name());
  }
  if (lost.empty()) return;
  lock.native().unlock();
  if (options_.listener != nullptr) options_.listener->OnRevoked(lost);
  lock.native().lock();
  std::erase_if(positions_, [&](const auto& position) {
    if (target.contains(position->key())) return false;
    Listen(*position, false);
    group_->owners.erase(position->key());
    return true;
  });
  for (LocalConsumer* member : group_->members) {
    if (member == this) continue;
    member->retarget_ = true;  // it may wait for just these
    member->Signal();
  }
}

void LocalConsumer::TakeOver(MutexLock& lock) {
  std::vector<CommittedOffset> taken;
  for (const std::string& name : topics_) {
    const std::shared_ptr<Topic> topic = log_.FindTopic(name);
    if (topic == nullptr) continue;
    for (int32_t p = 0; p < static_cast<int32_t>(topic->partitions.size()); ++p) {
      const PartitionKey key{topic->id, p};
      if (!target_.contains(key) || group_->owners.contains(key)) continue;
      group_->owners[key] = this;
      const event_log::local::Commit from = Groups::Committed(*group_, key);
      auto position = std::make_unique<Position>();
      position->topic = topic;
      position->partition = p;
      position->next = from.offset;
      Listen(*position, true);
      positions_.push_back(std::move(position));
      taken.push_back({{name, p}, from.offset, from.metadata});
    }
  }
  if (taken.empty() || options_.listener == nullptr) return;
  lock.native().unlock();
  options_.listener->OnAssigned(taken);
  lock.native().lock();
}

std::vector<LocalConsumer::Fetch> LocalConsumer::Plan(const PollLimits& limits) {
  std::vector<Fetch> fetches;
  size_t records = 0;
  size_t bytes = 0;
  for (size_t i = 0; i < positions_.size(); ++i) {
    Position* const position = positions_[(first_ + i) % positions_.size()].get();
    if (position->paused) continue;
    // A trim may have cut a block in two.
    position->next = std::max(position->next, position->state().begin);
    if (records >= limits.max_records || bytes >= limits.max_bytes) break;
    if (!position->block.rest.empty()) {
      fetches.push_back({position, nullptr, {}});
      records += static_cast<size_t>(position->block.end - position->block.next);
      bytes += position->block.rest.size();
    }
    const Partition& partition = position->state();
    const int64_t from = position->block.rest.empty()
                             ? position->next
                             : std::max(position->next, position->block.end);
    for (auto entry = LocalLog::FindEntry(partition, from);
         entry != partition.index.end() && records < limits.max_records && bytes < limits.max_bytes;
         ++entry) {
      Segment* const segment = log_.FindSegment(entry->segment);
      ++segment->pins;
      fetches.push_back({position, segment, *entry});
      records += entry->count;
      bytes += entry->bytes;
    }
  }
  if (!positions_.empty()) first_ = (first_ + 1) % positions_.size();
  return fetches;
}

Status LocalConsumer::Load(const Fetch& fetch) {
  auto data = std::make_shared<std::string>(fetch.entry.bytes, '\0');
  MR_ASSIGN_OR_RETURN(const size_t read,
                      ReadAt(fetch.segment->fd, data->data(), data->size(), fetch.entry.position));
  format::OpReader ops(std::string_view(*data).substr(0, read));
  format::Op op;
  Position& position = *fetch.position;
  if (!ops.Next(&op) || op.offset != fetch.entry.base || Crc32c(op.text) != op.crc) {
    log::Error(
        "local log: records {} to {} of '{}' partition {} are damaged on disk and passed over",
        fetch.entry.base, fetch.entry.end() - 1, position.topic->name, position.partition);
    position.next = fetch.entry.end();
    position.block = {};
    return OkStatus();
  }
  position.block = {std::move(data), op.text, op.offset, op.offset + op.count, op.timestamp_us};
  return OkStatus();
}

void LocalConsumer::Emit(Position& position, const PollLimits& limits, RecordBatch& batch,
                         size_t* bytes, std::vector<std::shared_ptr<const std::string>>& owners) {
  Block& block = position.block;
  bool emitted = false;
  uint32_t source = 0;
  while (!block.rest.empty() && batch.records.size() < limits.max_records &&
         (*bytes < limits.max_bytes || batch.records.empty())) {
    ConsumedRecord record{.appended_at_us = block.timestamp_us};
    if (!format::TakeRecord(&block.rest, &record.key, &record.meta, &record.value)) {
      block.rest = {};
      break;
    }
    record.offset = block.next++;
    if (record.offset < position.next) continue;
    if (!emitted) {
      emitted = true;
      const TopicPartition name = position.name();
      if (batch.sources.empty() || batch.sources.back() != name) batch.sources.push_back(name);
      source = static_cast<uint32_t>(batch.sources.size() - 1);
      owners.push_back(block.data);
    }
    record.source = source;
    position.next = record.offset + 1;
    *bytes += record.key.size() + record.meta.size() + record.value.size();
    batch.records.push_back(record);
  }
  if (block.rest.empty()) block = {};
}

StatusOr<RecordBatch> LocalConsumer::Poll(const PollLimits& limits) {
  const auto deadline = std::chrono::steady_clock::now() +
                        std::min<std::chrono::milliseconds>(limits.timeout, std::chrono::hours(24));
  RecordBatch batch;
  size_t bytes = 0;
  auto owners = std::make_shared<std::vector<std::shared_ptr<const std::string>>>();
  MutexLock lock(log_.mu());
  for (bool last = false;;) {
    signalled_ = false;
    if (group_ != nullptr) Rebalance(lock);
    const std::vector<Fetch> fetches = Plan(limits);
    if (!fetches.empty()) {
      lock.native().unlock();
      Status status;
      for (const Fetch& fetch : fetches) {
        if (!status.ok() || batch.records.size() >= limits.max_records ||
            (bytes >= limits.max_bytes && !batch.records.empty())) {
          break;
        }
        if (fetch.segment != nullptr) {
          if (!fetch.position->block.rest.empty()) continue;  // its earlier block is not through
          status = Load(fetch);
        }
        if (status.ok()) Emit(*fetch.position, limits, batch, &bytes, *owners);
      }
      lock.native().lock();
      for (const Fetch& fetch : fetches) {
        if (fetch.segment != nullptr) --fetch.segment->pins;
      }
      if (!status.ok() && batch.records.empty()) return status;
    }
    if (!batch.records.empty() || woken_ || last) break;
    if (!fetches.empty()) continue;  // damaged blocks were passed over
    waits_ = true;
    last = !ready_.wait_until(lock.native(), deadline, [this] { return signalled_; });
    waits_ = false;
  }
  woken_ = false;
  batch.owner = std::move(owners);
  return batch;
}

}  // namespace millrace::event_log::local
