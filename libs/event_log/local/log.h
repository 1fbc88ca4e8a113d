#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/base/string_map.h"
#include "libs/event_log/local/format.h"
#include "libs/event_log/local/groups.h"
#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/quota.h"
#include "libs/event_log/local/state.h"

namespace millrace::event_log::local {

/// The embedded log. Appends are staged in a batch under `mu_`; the writer thread takes a batch,
/// writes it as one frame, syncs, shows it to the readers and answers. Indices, topics, offsets and
/// segments are changed by the writer thread alone (holding `mu_`, so that others may read them).
class LocalLog final : public EventLog {
 public:
  explicit LocalLog(const LocalLogOptions& options);
  ~LocalLog() override;
  /// Takes the folder, recovers and starts the writer. Once, before anything else.
  Status Start();

  Status EnsureTopic(const std::string& topic, const TopicOptions& options) override;
  Status DeleteTopic(const std::string& topic) override;
  Status Trim(const TopicPartition& partition, int64_t before_offset) override;
  StatusOr<std::vector<PartitionInfo>> Describe(const std::string& topic) override;
  StatusOr<std::vector<CommittedOffset>> Committed(const std::string& group,
                                                   const std::string& topic) override;
  StatusOr<std::vector<std::string>> ListTopics() override;
  StatusOr<LogUsage> Usage() override;
  StatusOr<std::string> Id() override { return id_; }
  StatusOr<std::unique_ptr<Appender>> NewAppender() override;
  StatusOr<std::unique_ptr<Consumer>> NewConsumer(const ConsumerOptions& options) override;
  StatusOr<std::unique_ptr<Transaction>> NewTransaction(const std::string& id) override;

  // For the consumers, appenders and transactions of this log.

  Mutex& mu() { return mu_; }
  void Append(std::span<const TopicRecord> records, Done done, AppenderState& appender);
  void AwaitOutstanding(AppenderState& appender);
  /// Encodes `records` at the end of `blocks`, as a transaction keeps them; `staged_bytes` is their
  /// size. kResourceExhausted when it would be more than a transaction may hold.
  Status Encode(std::span<const TopicRecord> records, std::vector<StagedBlock>& blocks,
                size_t& staged_bytes);
  /// Makes a transaction's work durable unless a newer owner fenced it or `consumer` lost a
  /// partition.
  Status CommitTransaction(const std::string& id, uint64_t generation,
                           std::vector<StagedBlock> blocks, std::vector<OffsetChange> offsets,
                           LocalConsumer* consumer);
  Status CommitOffsets(LocalConsumer& consumer, std::vector<OffsetChange> offsets);
  bool Fenced(const std::string& id, uint64_t generation);

  // With mu() held.
  std::shared_ptr<Topic> FindTopic(std::string_view name) const;
  Groups& groups() { return groups_; }
  /// Deals the topics' partitions out among the members anew and tells them.
  void Reassign(Group& group);
  Segment* FindSegment(uint32_t id);
  static Status NoSuchTopic(std::string_view name);
  static std::deque<IndexEntry>::const_iterator FindEntry(const Partition& partition,
                                                          int64_t offset);

 private:
  // log.cc
  Batch& OpenBatch(size_t bytes, Room room = Room::kNew);
  bool Closes(const Topic& topic) const;
  void Enqueue();
  Status Refusal(std::span<const TopicRecord> records, size_t* bytes) const;
  Status TooLarge(size_t bytes, StatusCode code) const;
  void Stage(std::span<const TopicRecord> records);
  Status ChangeTopic(TopicChange change);
  /// Adds a waiter to the open batch, waits for its answer. `lock` holds mu_.
  Status Await(MutexLock& lock, bool with_records);

  // recovery.cc
  Status TakeFolder();
  Status TakeVersion();
  Status TakeId();
  Status Recover();
  Status LoadSegment(uint32_t id, std::vector<std::unique_ptr<Segment>>& found);
  void Replay(const Segment& segment, std::string_view data, uint64_t sequence_limit);
  void ApplyOp(const Segment& segment, uint64_t frame_position, const format::Op& op);
  void FinishRecovery();

  // writer.cc
  void Run();
  void Work(Batch batch, std::vector<std::pair<Waiter, Status>> refused);
  Status Write(const Batch& batch, bool with_records);
  void BuildFrame(const Batch& batch, bool with_records);
  Status WriteFrame(bool sync);
  void Apply(const Batch& batch, bool with_records);
  void ApplyTopic(const TopicChange& change);
  void Answer(std::vector<Waiter>& waiters, const Status& data, const Status& other);

  // space.cc
  Status MakeRoom(size_t bytes, Room room);
  Status Roll(size_t bytes, Room room);
  StatusOr<std::unique_ptr<Segment>> NewSegment();
  Status Grow(Segment& segment, uint64_t bytes, Room room);
  /// Asks the disk; `besides` is that of a file which is no segment yet.
  void MeasureDisk(uint64_t besides);
  uint64_t SegmentLimit() const;
  uint64_t InUse() const;
  uint64_t DiskUsed() const;
  void NoteRoom();
  void BuildCheckpoint();
  void AbandonActive();
  void BeginFileIfNeeded();
  void Remove(Segment& segment);

  // maintenance.cc
  enum class Why { kTime, kChange, kIdle, kPressed };
  void Maintain(Why why);
  void FreeOld();
  /// Frees the blocks of the partition that all readers of its topic have read.
  void FreeRead(Topic& topic, int32_t number);
  void ForgetStrangers();
  bool WorthLeaving() const;
  void Retire();
  bool RelocateSparsest(bool pressed);
  std::string SegmentPath(uint32_t id) const;
  void AddToIndex(Topic& topic, Partition& partition, const IndexEntry& entry);
  /// Takes the first block out of the index of a partition.
  void DropFront(Topic& topic, Partition& partition);
  void TrimBefore(Topic& topic, Partition& partition, int64_t before);
  void ForgetTopic(Topic& topic);

  const LocalLogOptions options_;
  Mutex mu_;
  Mutex topics_mu_;  // one change of topics at a time; taken before mu_
  std::condition_variable work_;
  std::condition_variable drained_;
  int lock_fd_ = -1;
  std::string id_;

  StringMap<std::shared_ptr<Topic>> topics_;
  std::map<uint32_t, std::shared_ptr<Topic>> topics_by_id_;
  Groups groups_;
  std::map<std::string, uint64_t> producers_;  // generation of each transactional id
  uint32_t next_topic_id_ = 1;

  std::deque<Batch> queue_;
  std::vector<std::pair<Waiter, Status>> refused_;
  std::vector<std::string> spare_buffers_;
  uint64_t next_batch_ = 1;
  size_t in_flight_ = 0;
  Quota quota_;
  bool stop_ = false;
  bool writer_waits_ = false;
  // The writer's own.
  bool maintenance_due_ = false;
  bool disk_full_ = false;  // the disk gave no room when it was last asked
  size_t checkpoint_bytes_ = 0;
  std::chrono::steady_clock::time_point next_maintenance_;

  std::map<uint32_t, std::unique_ptr<Segment>> segments_;
  Segment* active_ = nullptr;
  std::vector<std::unique_ptr<Segment>> free_;
  uint32_t next_segment_ = 1;
  uint64_t last_epoch_ = 0;
  uint64_t sequence_ = 1;          // of the next frame
  uint64_t durable_sequence_ = 1;  // first that may be written anew after a failure
  std::string frame_;
  std::vector<IndexEntry> written_;  // entries of the frame's blocks
  std::thread writer_;
};

}  // namespace millrace::event_log::local
