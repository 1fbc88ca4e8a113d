#include "libs/testing/memory_log.h"

#include <utility>

namespace millrace::testing {

using event_log::Done;
using event_log::TopicRecord;

class MemoryLog::MemoryAppender final : public event_log::Appender {
 public:
  explicit MemoryAppender(MemoryLog& log) : log_(log) {}
  ~MemoryAppender() override { log_.Release(); }
  void Append(std::span<const TopicRecord> records, Done done) override {
    log_.Append(records, std::move(done));
  }

 private:
  MemoryLog& log_;
};

Status MemoryLog::EnsureTopic(const std::string& topic, const event_log::TopicOptions& options) {
  MutexLock lock(mu_);
  const auto [found, made] = topics_.try_emplace(topic, Topic{options});
  if (event_log::AsksNothing(options)) return OkStatus();
  const int32_t partitions = found->second.options.partitions;
  found->second.options = options;
  found->second.options.partitions = partitions;
  return OkStatus();
}

Status MemoryLog::DeleteTopic(const std::string& topic) {
  MutexLock lock(mu_);
  topics_.erase(topic);
  std::erase_if(records_, [&topic](const Stored& record) { return record.topic == topic; });
  return OkStatus();
}

Status MemoryLog::Trim(const event_log::TopicPartition& partition, int64_t before_offset) {
  MutexLock lock(mu_);
  const auto found = topics_.find(partition.topic);
  if (found == topics_.end() || partition.partition < 0 ||
      partition.partition >= found->second.options.partitions) {
    return Error(StatusCode::kNotFound, "no partition {} of `{}`", partition.partition,
                 partition.topic);
  }
  if (partition.partition != 0) return OkStatus();  // all records are shown in the first one
  int64_t& begin = found->second.begin;
  std::erase_if(records_, [&](const Stored& record) {
    if (record.topic != partition.topic || begin >= before_offset) return false;
    ++begin;
    return true;
  });
  return OkStatus();
}

StatusOr<event_log::LogUsage> MemoryLog::Usage() {
  MutexLock lock(mu_);
  return usage_;
}

StatusOr<std::string> MemoryLog::Id() {
  return "memory";
}

StatusOr<std::vector<event_log::PartitionInfo>> MemoryLog::Describe(const std::string& topic) {
  MutexLock lock(mu_);
  const auto found = topics_.find(topic);
  if (found == topics_.end()) return Error(StatusCode::kNotFound, "no topic `{}`", topic);
  std::vector<event_log::PartitionInfo> partitions;
  for (int32_t i = 0; i < found->second.options.partitions; ++i) {
    partitions.push_back({.partition = i});
  }
  // Which partition a record went to is not kept: all are shown in the first one.
  partitions[0].begin_offset = partitions[0].end_offset = found->second.begin;
  for (const Stored& record : records_) {
    if (record.topic == topic) ++partitions[0].end_offset;
  }
  return partitions;
}

StatusOr<std::vector<event_log::CommittedOffset>> MemoryLog::Committed(const std::string&,
                                                                       const std::string&) {
  return std::vector<event_log::CommittedOffset>();
}

StatusOr<std::vector<std::string>> MemoryLog::ListTopics() {
  MutexLock lock(mu_);
  std::vector<std::string> names;
  for (const auto& [name, topic] : topics_) names.push_back(name);
  return names;
}

StatusOr<std::unique_ptr<event_log::Appender>> MemoryLog::NewAppender() {
  return std::make_unique<MemoryAppender>(*this);
}

StatusOr<std::unique_ptr<event_log::Consumer>> MemoryLog::NewConsumer(
    const event_log::ConsumerOptions&) {
  return MakeStatus(StatusCode::kUnimplemented, "the memory log has no consumers");
}

StatusOr<std::unique_ptr<event_log::Transaction>> MemoryLog::NewTransaction(const std::string&) {
  return MakeStatus(StatusCode::kUnimplemented, "the memory log has no transactions");
}

void MemoryLog::SetUsage(event_log::LogUsage usage) {
  MutexLock lock(mu_);
  usage_ = std::move(usage);
}

std::optional<event_log::TopicOptions> MemoryLog::options(const std::string& topic) const {
  MutexLock lock(mu_);
  const auto found = topics_.find(topic);
  if (found == topics_.end()) return std::nullopt;
  return found->second.options;
}

std::vector<MemoryLog::Stored> MemoryLog::records() const {
  MutexLock lock(mu_);
  return records_;
}

void MemoryLog::Clear() {
  MutexLock lock(mu_);
  records_.clear();
}

void MemoryLog::FailWith(Status status) {
  MutexLock lock(mu_);
  failure_ = std::move(status);
}

void MemoryLog::Hold() {
  MutexLock lock(mu_);
  holding_ = true;
}

void MemoryLog::Release() {
  std::vector<Done> waiting;
  {
    MutexLock lock(mu_);
    holding_ = false;
    waiting.swap(waiting_);
  }
  for (const Done& done : waiting) done(OkStatus());
}

void MemoryLog::Append(std::span<const TopicRecord> records, Done done) {
  Status status;
  {
    MutexLock lock(mu_);
    status = failure_;
    for (const TopicRecord& entry : records) {
      if (!status.ok()) break;
      if (!topics_.contains(std::string(entry.topic))) {
        status = Error(StatusCode::kNotFound, "no topic `{}`", entry.topic);
      }
    }
    if (status.ok()) {
      for (const auto& [topic, record] : records) {
        records_.push_back({std::string(topic), std::string(record.key), std::string(record.meta),
                            std::string(record.value)});
      }
      if (holding_) {
        waiting_.push_back(std::move(done));
        return;
      }
    }
  }
  done(status);
}

}  // namespace millrace::testing
