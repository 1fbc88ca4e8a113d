#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"

/// The event log: durable topics of partitions, read by consumer groups, written plainly or in
/// transactions. Two backends, local/ (embedded) and kafka/; one contract test suite for both.
namespace millrace::event_log {

struct TopicPartition {
  std::string topic;
  int32_t partition = 0;
  auto operator<=>(const TopicPartition&) const = default;
};

/// What is appended. The views are copied before Append returns.
struct Record {
  std::string_view
      key;  // decides the partition (murmur2, as Kafka's own clients), unless set below
  std::string_view meta;  // metadata beside the value; a Kafka header named "m"
  std::string_view value;
  int32_t partition = -1;  // >= 0: this partition, whatever the key
};

struct TopicRecord {
  std::string_view topic;
  Record record;
};

/// What is read. The views live as long as the RecordBatch that holds it, or any copy of its owner.
struct ConsumedRecord {
  uint32_t source = 0;  // index into RecordBatch::sources
  int64_t offset = 0;
  int64_t appended_at_us = 0;
  std::string_view key;
  std::string_view meta;
  std::string_view value;
};

struct RecordBatch {
  std::vector<TopicPartition> sources;
  std::vector<ConsumedRecord>
      records;                        // of one partition in offset order; partitions may interleave
  std::shared_ptr<const void> owner;  // keeps the views alive

  const TopicPartition& source_of(const ConsumedRecord& record) const {
    return sources[record.source];
  }
};

struct TopicOptions {
  int32_t partitions = 1;
  /// Records older than this go, read or not. 0: never. Of no meaning with `readers`.
  std::chrono::milliseconds retention{0};
  /// The groups that must have read a record before it goes; then it goes soon, whatever its age,
  /// and before that never. Other groups do not hold a record back. The log forgets `readers` when
  /// it ends: until EnsureTopic is called again, nothing of the topic goes for having been read.
  std::vector<std::string> readers;
};

/// Whether an existing topic stays as it is: these options say neither how long nor for whom.
inline bool AsksNothing(const TopicOptions& options) {
  return options.readers.empty() && options.retention.count() == 0;
}

/// Offset of the next record to read, with a note of the committer's own (at most 4,000 bytes).
struct CommittedOffset {
  TopicPartition partition;
  int64_t offset = 0;
  std::string metadata;
};

struct PartitionInfo {
  int32_t partition = 0;
  int64_t begin_offset = 0;  // oldest record still there
  int64_t end_offset = 0;    // offset the next record will get
};

/// The bytes that a log keeps because of one topic.
struct TopicUsage {
  std::string topic;
  uint64_t bytes = 0;
};

/// How full a log is. A log on a cluster says 0 and nothing: the cluster's operator looks there.
struct LogUsage {
  uint64_t quota_bytes = 0;        // that it may hold
  uint64_t used_bytes = 0;         // that it holds, with what is freed but not given back yet
  std::vector<TopicUsage> topics;  // by name
};

/// Called once, from the log's own thread; must not block.
using Done = std::function<void(Status)>;

/// Appends records to topics and says when they are durable.
///
/// Thread-safety: all methods may be called from any thread. The destructor calls every outstanding
/// `done` before it returns.
class Appender {
 public:
  Appender() = default;
  Appender(const Appender&) = delete;
  Appender& operator=(const Appender&) = delete;
  virtual ~Appender() = default;

  /// Appends `records`, which keep their order within a partition, and then calls `done` once: OK
  /// when all would survive a crash, else
  ///   kUnavailable        - the log is away; try again later (some may be durable);
  ///   kResourceExhausted  - the log is full, or too much is in flight; try again later;
  ///   kInvalidArgument    - a record, or all together, is larger than the log takes; never will;
  ///   kNotFound           - no such topic.
  virtual void Append(std::span<const TopicRecord> records, Done done) = 0;
};

/// Told, from inside Consumer::Poll, which partitions this consumer reads.
class RebalanceListener {
 public:
  virtual ~RebalanceListener() = default;
  /// `partitions` with the group's committed offsets (offset -1: none, reading starts at the oldest
  /// record). Reading may be moved with Consumer::Seek from within.
  virtual void OnAssigned(std::span<const CommittedOffset> partitions) = 0;
  /// The partitions are still this consumer's during the call: finish, commit or drop their work.
  virtual void OnRevoked(std::span<const TopicPartition> partitions) = 0;
};

struct PollLimits {
  size_t max_records = 1000;
  size_t max_bytes = 4 << 20;
  std::chrono::milliseconds timeout{100};  // wait for the first record
};

/// Reads topics as a member of a group, or (group empty) partitions set by Assign.
///
/// Thread-safety: one thread, except Wake. Only records that are committed and durable are seen.
class Consumer {
 public:
  Consumer() = default;
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;
  /// Leaves the group without committing.
  virtual ~Consumer() = default;

  /// Reads these topics from now on, in place of those before. Topics must exist.
  virtual Status Subscribe(std::vector<std::string> topics) = 0;
  /// Reads these partitions from these offsets, outside any group. -1 = oldest, -2 = end.
  virtual Status Assign(std::span<const CommittedOffset> positions) = 0;
  /// Waits for records; an empty batch after the timeout or Wake. Errors: kUnavailable.
  virtual StatusOr<RecordBatch> Poll(const PollLimits& limits) = 0;
  /// A paused partition stays assigned but yields nothing until Resume.
  virtual void Pause(const TopicPartition& partition) = 0;
  virtual void Resume(const TopicPartition& partition) = 0;
  virtual Status Seek(const TopicPartition& partition, int64_t offset) = 0;
  /// Durable when it returns OK. kFailedPrecondition: a partition is no longer this consumer's.
  virtual Status Commit(std::span<const CommittedOffset> offsets) = 0;
  /// Makes a running or the next Poll return at once. Any thread.
  virtual void Wake() = 0;
};

/// Moves what a stage emits and the offsets of what it read in one step.
///
/// Thread-safety: one thread. After Commit or Abort failed with kFailedPrecondition (fenced by a
/// newer owner of the same id) the object is of no more use.
class Transaction {
 public:
  Transaction() = default;
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  /// Aborts what is open.
  virtual ~Transaction() = default;

  virtual Status Begin() = 0;
  /// Errors as Appender::Append, or at Commit. kResourceExhausted: more than one transaction may
  /// hold (Commit says so too); the caller begins anew with less.
  virtual Status Append(std::span<const TopicRecord> records) = 0;
  /// `consumer` must be a group consumer of the same log.
  virtual Status AddOffsets(Consumer& consumer, std::span<const CommittedOffset> offsets) = 0;
  /// OK: all of it is durable and visible. kAborted/kUnavailable: none of it is; the caller reads
  /// again from the committed offsets. kResourceExhausted: the same, and a smaller one may pass.
  /// kFailedPrecondition: fenced, or a partition was lost.
  virtual Status Commit() = 0;
  virtual Status Abort() = 0;
};

struct ConsumerOptions {
  std::string group;     // empty: no group, use Assign
  std::string instance;  // unique in the group and stable over restarts (static membership)
  RebalanceListener* listener = nullptr;  // outlives the consumer
};

/// A log. Outlives all it makes. Thread-safety: all methods may be called from any thread.
class EventLog {
 public:
  EventLog() = default;
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;
  virtual ~EventLog() = default;

  /// Makes the topic unless it exists. An existing topic keeps its partitions; its retention and
  /// readers become those of `options`, unless these name neither.
  virtual Status EnsureTopic(const std::string& topic, const TopicOptions& options) = 0;
  /// Forgets a topic and its records; OK when there is none.
  virtual Status DeleteTopic(const std::string& topic) = 0;
  /// Frees the records before `before_offset`, read or not; those from there on, which may be the
  /// end or beyond, stay. Durable when it returns OK. kNotFound: no such topic or partition.
  virtual Status Trim(const TopicPartition& partition, int64_t before_offset) = 0;
  /// kNotFound when there is no such topic.
  virtual StatusOr<std::vector<PartitionInfo>> Describe(const std::string& topic) = 0;
  /// The group's committed offsets for the topic; partitions without one have offset -1.
  virtual StatusOr<std::vector<CommittedOffset>> Committed(const std::string& group,
                                                           const std::string& topic) = 0;
  virtual StatusOr<std::vector<std::string>> ListTopics() = 0;
  /// Cheap enough to be asked each second with thousands of topics.
  virtual StatusOr<LogUsage> Usage() = 0;
  /// Names this log for good, from when its folder or cluster was made: what is kept beside it (a
  /// position, a copy) belongs to the log of that name only.
  virtual StatusOr<std::string> Id() = 0;

  virtual StatusOr<std::unique_ptr<Appender>> NewAppender() = 0;
  virtual StatusOr<std::unique_ptr<Consumer>> NewConsumer(const ConsumerOptions& options) = 0;
  /// `id` names the producer for fencing: a new one with the same id shuts out the older.
  virtual StatusOr<std::unique_ptr<Transaction>> NewTransaction(const std::string& id) = 0;
};

/// Names of the topics. The Kafka backend puts its prefix before them.
inline constexpr std::string_view kIngestTopic = "ingest";
inline constexpr std::string_view kDeadLetterTopic = "dead-letter";
inline constexpr std::string_view kDeliveryStatusTopic = "delivery-status";
inline constexpr std::string_view kCountersTopic = "counters";
/// What `store` of transformations keeps, as changes; partitions as those of `ingest`.
inline constexpr std::string_view kStateTopic = "transformation-state";
inline constexpr std::string_view kReportTopic = "transformation-report";
inline constexpr std::string_view kDedupTopic = "dedup";  // changelog; partitioned as `ingest`
inline std::string DestinationTopic(std::string_view destination_id) {
  return "destination." + std::string(destination_id);
}

}  // namespace millrace::event_log
