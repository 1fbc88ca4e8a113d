#include <algorithm>

#include "libs/event_log/local/log.h"

namespace millrace::event_log::local {

Status LocalLog::NoSuchTopic(std::string_view name) {
  return Error(StatusCode::kNotFound, "no topic '{}'", name);
}

Status LocalLog::ChangeTopic(TopicChange change) {
  MutexLock lock(mu_);
  OpenBatch(0).topics.push_back(std::move(change));
  return Await(lock, false);
}

Status LocalLog::EnsureTopic(const std::string& topic, const TopicOptions& options) {
  if (topic.empty() || options.partitions < 1 || options.partitions > 10'000) {
    return Error(StatusCode::kInvalidArgument, "topic '{}' cannot have {} partitions", topic,
                 options.partitions);
  }
  MutexLock one_change(topics_mu_);
  TopicChange change{.options = options};
  {
    MutexLock lock(mu_);
    change.topic = FindTopic(topic);
    if (change.topic == nullptr) {
      change.topic = std::make_shared<Topic>();
      change.topic->id = next_topic_id_++;
      change.topic->name = topic;
      change.topic->partitions.resize(static_cast<size_t>(options.partitions));
    } else {
      change.written = change.topic->retention_ms != options.retention.count();
      const bool known = change.topic->declared && change.topic->readers == options.readers;
      if (AsksNothing(options) || (known && !change.written)) return OkStatus();
    }
  }
  return ChangeTopic(std::move(change));
}

Status LocalLog::DeleteTopic(const std::string& topic) {
  MutexLock one_change(topics_mu_);
  std::shared_ptr<Topic> found;
  {
    MutexLock lock(mu_);
    found = FindTopic(topic);
  }
  if (found == nullptr) return OkStatus();
  return ChangeTopic({.topic = std::move(found), .deleted = true});
}

Status LocalLog::Trim(const TopicPartition& partition, int64_t before_offset) {
  MutexLock lock(mu_);
  std::shared_ptr<Topic> topic = FindTopic(partition.topic);
  if (topic == nullptr) return NoSuchTopic(partition.topic);
  if (partition.partition < 0 ||
      partition.partition >= static_cast<int32_t>(topic->partitions.size())) {
    return Error(StatusCode::kNotFound, "topic '{}' has no partition {}", partition.topic,
                 partition.partition);
  }
  const Partition& trimmed = topic->partitions[static_cast<size_t>(partition.partition)];
  // Written also when that much is free already: what went by itself may come back with a crash.
  const int64_t before = std::min(std::max(before_offset, trimmed.begin), trimmed.end);
  OpenBatch(0).trims.push_back({std::move(topic), partition.partition, before});
  return Await(lock, false);
}

StatusOr<std::vector<PartitionInfo>> LocalLog::Describe(const std::string& topic) {
  MutexLock lock(mu_);
  const std::shared_ptr<Topic> found = FindTopic(topic);
  if (found == nullptr) return NoSuchTopic(topic);
  std::vector<PartitionInfo> info;
  for (const Partition& partition : found->partitions) {
    info.push_back({static_cast<int32_t>(info.size()), partition.begin, partition.end});
  }
  return info;
}

StatusOr<std::vector<CommittedOffset>> LocalLog::Committed(const std::string& group,
                                                           const std::string& topic) {
  MutexLock lock(mu_);
  const std::shared_ptr<Topic> found = FindTopic(topic);
  if (found == nullptr) return NoSuchTopic(topic);
  std::vector<CommittedOffset> offsets;
  for (int32_t p = 0; p < static_cast<int32_t>(found->partitions.size()); ++p) {
    CommittedOffset& offset = offsets.emplace_back(CommittedOffset{{topic, p}, -1, ""});
    const Commit commit = groups_.Committed(group, {found->id, p});
    offset.offset = commit.offset;
    offset.metadata = commit.metadata;
  }
  return offsets;
}

StatusOr<std::vector<std::string>> LocalLog::ListTopics() {
  MutexLock lock(mu_);
  std::vector<std::string> names;
  for (const auto& [name, topic] : topics_) names.push_back(name);
  std::ranges::sort(names);
  return names;
}

StatusOr<LogUsage> LocalLog::Usage() {
  MutexLock lock(mu_);
  LogUsage usage{quota_.bytes(), InUse(), {}};
  usage.topics.reserve(topics_.size());
  for (const auto& [name, topic] : topics_) usage.topics.push_back({name, topic->live_bytes});
  std::ranges::sort(usage.topics, {}, &TopicUsage::topic);
  return usage;
}

void LocalLog::ApplyTopic(const TopicChange& change) {
  Topic& topic = *change.topic;
  const bool made = !change.deleted && !topics_by_id_.contains(topic.id);
  if (change.deleted) {
    ForgetTopic(topic);
  } else {
    topic.retention_ms = change.options.retention.count();
    topic.readers = change.options.readers;
    topic.declared = true;
    topics_[topic.name] = change.topic;
    topics_by_id_[topic.id] = change.topic;
    for (size_t p = 0; p < topic.partitions.size(); ++p) FreeRead(topic, static_cast<int32_t>(p));
  }
  if (!made && !change.deleted) return;
  groups_.ReassignAll([this](const std::string& name) { return FindTopic(name); });
}

void LocalLog::AddToIndex(Topic& topic, Partition& partition, const IndexEntry& entry) {
  if (Segment* const segment = FindSegment(entry.segment)) segment->live_bytes += entry.bytes;
  topic.live_bytes += entry.bytes;
  auto at = std::ranges::lower_bound(partition.index, entry.base, {}, &IndexEntry::base);
  if (at != partition.index.end() && at->base == entry.base) {
    if (Segment* const old = FindSegment(at->segment)) old->live_bytes -= at->bytes;
    topic.live_bytes -= at->bytes;
    *at = entry;
  } else {
    partition.index.insert(at, entry);
  }
  partition.end = std::max(partition.end, entry.end());
}

void LocalLog::DropFront(Topic& topic, Partition& partition) {
  const IndexEntry& entry = partition.index.front();
  if (Segment* const segment = FindSegment(entry.segment)) segment->live_bytes -= entry.bytes;
  topic.live_bytes -= entry.bytes;
  partition.begin = std::max(partition.begin, entry.end());
  partition.index.pop_front();
}

void LocalLog::TrimBefore(Topic& topic, Partition& partition, int64_t before) {
  while (!partition.index.empty() && partition.index.front().end() <= before) {
    DropFront(topic, partition);
  }
  partition.begin = std::max(partition.begin, before);
}

void LocalLog::ForgetTopic(Topic& topic) {
  topic.deleted = true;
  for (Partition& partition : topic.partitions) {
    while (!partition.index.empty()) DropFront(topic, partition);
    partition.begin = partition.end;
  }
  groups_.ForgetTopic(topic.id);
  topics_by_id_.erase(topic.id);
  topics_.erase(topic.name);
}

}  // namespace millrace::event_log::local
