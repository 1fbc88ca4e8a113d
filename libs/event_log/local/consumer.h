#pragma once

#include <condition_variable>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "libs/event_log/local/log.h"

namespace millrace::event_log::local {

/// A reader of the log; in a group it shares the partitions with the other members.
class LocalConsumer final : public Consumer {
 public:
  LocalConsumer(LocalLog& log, const ConsumerOptions& options) : log_(log), options_(options) {}
  ~LocalConsumer() override;

  Status Subscribe(std::vector<std::string> topics) override;
  Status Assign(std::span<const CommittedOffset> positions) override;
  StatusOr<RecordBatch> Poll(const PollLimits& limits) override;
  void Pause(const TopicPartition& partition) override;
  void Resume(const TopicPartition& partition) override;
  Status Seek(const TopicPartition& partition, int64_t offset) override;
  Status Commit(std::span<const CommittedOffset> offsets) override;
  void Wake() override;

  StatusOr<std::vector<OffsetChange>> Changes(std::span<const CommittedOffset> offsets);

  // With the log's mutex held.
  Status CheckOwned(std::span<const OffsetChange> offsets) const;
  /// Ends a wait for records.
  void Signal();
  const std::string& instance() const { return options_.instance; }
  const std::vector<std::string>& topics() const { return topics_; }
  void SetTarget(std::set<PartitionKey> target);

 private:
  struct Block {
    std::shared_ptr<const std::string> data;
    std::string_view rest;  // records not yet given out
    int64_t next = 0;       // offset of the first of them
    int64_t end = 0;
    int64_t timestamp_us = 0;
  };
  struct Position {
    std::shared_ptr<Topic> topic;
    int32_t partition = 0;
    int64_t next = 0;  // -1: the oldest
    bool paused = false;
    Block block;
    PartitionKey key() const { return {topic->id, partition}; }
    Partition& state() const { return topic->partitions[static_cast<size_t>(partition)]; }
    TopicPartition name() const { return {topic->name, partition}; }
  };
  struct Fetch {
    Position* position = nullptr;
    Segment* segment = nullptr;
    IndexEntry entry;
  };

  Position* Find(const TopicPartition& partition);
  void Listen(const Position& position, bool on);
  void Leave();
  /// Gives up and takes partitions as the group deals them; lets `lock` go while the listener runs.
  void Rebalance(MutexLock& lock);
  void GiveUp(MutexLock& lock, const std::set<PartitionKey>& target);
  void TakeOver(MutexLock& lock);
  std::vector<Fetch> Plan(const PollLimits& limits);
  Status Load(const Fetch& fetch);
  void Emit(Position& position, const PollLimits& limits, RecordBatch& batch, size_t* bytes,
            std::vector<std::shared_ptr<const std::string>>& owners);

  LocalLog& log_;
  const ConsumerOptions options_;
  std::vector<std::string> topics_;
  std::vector<std::unique_ptr<Position>> positions_;
  size_t first_ = 0;  // whose turn it is
  std::condition_variable ready_;
  bool waits_ = false;
  bool signalled_ = false;
  bool woken_ = false;
  Group* group_ = nullptr;
  std::set<PartitionKey> target_;
  bool retarget_ = false;
};

}  // namespace millrace::event_log::local
