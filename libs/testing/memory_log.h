#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/event_log/event_log.h"

namespace millrace::testing {

/// An event log for tests of what appends: it keeps the records in memory, answers at once or when
/// told to, and fails on request. It has no consumers and no transactions (kUnimplemented); tests
/// of those use the local log. Thread-safe.
class MemoryLog final : public event_log::EventLog {
 public:
  struct Stored {
    std::string topic, key, meta, value;
  };

  Status EnsureTopic(const std::string& topic, const event_log::TopicOptions& options) override;
  Status DeleteTopic(const std::string& topic) override;
  Status Trim(const event_log::TopicPartition& partition, int64_t before_offset) override;
  StatusOr<std::vector<event_log::PartitionInfo>> Describe(const std::string& topic) override;
  StatusOr<std::vector<event_log::CommittedOffset>> Committed(const std::string& group,
                                                              const std::string& topic) override;
  StatusOr<std::vector<std::string>> ListTopics() override;
  StatusOr<event_log::LogUsage> Usage() override;
  StatusOr<std::string> Id() override;
  StatusOr<std::unique_ptr<event_log::Appender>> NewAppender() override;
  StatusOr<std::unique_ptr<event_log::Consumer>> NewConsumer(
      const event_log::ConsumerOptions& options) override;
  StatusOr<std::unique_ptr<event_log::Transaction>> NewTransaction(const std::string& id) override;

  /// What was appended so far, in order.
  std::vector<Stored> records() const;
  /// Forgets what was appended.
  void Clear();
  /// From now on appends fail with `status` (OK: succeed).
  void FailWith(Status status);
  /// From now on answers wait for Release.
  void Hold();
  /// Answers what waits, and from now on at once.
  void Release();
  /// What Usage says from now on.
  void SetUsage(event_log::LogUsage usage);
  /// What EnsureTopic was last asked for; nothing when there is no such topic.
  std::optional<event_log::TopicOptions> options(const std::string& topic) const;

 private:
  class MemoryAppender;
  void Append(std::span<const event_log::TopicRecord> records, event_log::Done done);

  struct Topic {
    event_log::TopicOptions options;
    int64_t begin = 0;  // so many were trimmed
  };

  mutable Mutex mu_;
  std::map<std::string, Topic> topics_ ABSL_GUARDED_BY(mu_);
  event_log::LogUsage usage_ ABSL_GUARDED_BY(mu_);
  std::vector<Stored> records_ ABSL_GUARDED_BY(mu_);
  std::vector<event_log::Done> waiting_ ABSL_GUARDED_BY(mu_);
  Status failure_ ABSL_GUARDED_BY(mu_);
  bool holding_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace millrace::testing
