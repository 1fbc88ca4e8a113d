#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <set>

#include "libs/event_log/kafka/cluster.h"

namespace millrace::event_log::kafka {

/// A member of a consumer group, or a reader of assigned partitions.
///
/// Rebalances are eager and happen inside Poll: librdkafka 2.0 skips or repeats records with the
/// cooperative protocol. Records are handed out one by one by librdkafka and not copied.
class KafkaConsumer final : public Consumer {
 public:
  static StatusOr<std::unique_ptr<Consumer>> Create(Cluster& cluster,
                                                    const ConsumerOptions& options);
  ~KafkaConsumer() override;

  Status Subscribe(std::vector<std::string> topics) override;
  Status Assign(std::span<const CommittedOffset> positions) override;
  StatusOr<RecordBatch> Poll(const PollLimits& limits) override;
  void Pause(const TopicPartition& partition) override;
  void Resume(const TopicPartition& partition) override;
  Status Seek(const TopicPartition& partition, int64_t offset) override;
  Status Commit(std::span<const CommittedOffset> offsets) override;
  void Wake() override;

  /// kFailedPrecondition unless all of them are this consumer's, in a group.
  Status CheckOwned(std::span<const CommittedOffset> offsets) const;
  rd_kafka_t* client() const { return client_.get(); }

 private:
  KafkaConsumer(Cluster& cluster, const ConsumerOptions& options)
      : cluster_(cluster), options_(options) {}

  static void OnRebalance(rd_kafka_t* client, rd_kafka_resp_err_t code,
                          rd_kafka_topic_partition_list_t* partitions, void* opaque);
  void TakeOver(const rd_kafka_topic_partition_list_t& partitions);
  void GiveUp();
  StatusOr<std::vector<CommittedOffset>> FetchCommitted(
      const rd_kafka_topic_partition_list_t& partitions);
  Status StartReading(std::span<const CommittedOffset> positions);
  rd_kafka_message_t* NextMessage(const PollLimits& limits);
  Status HandleError(const rd_kafka_message_t& message);

  Cluster& cluster_;
  ConsumerOptions options_;
  Handle client_;
  Queue queue_;
  std::atomic<bool> woken_ = false;
  std::vector<std::string> topics_;  // subscribed to, full names
  std::set<TopicPartition> owned_;
  std::set<TopicPartition> paused_;
  std::map<TopicPartition, int64_t>* taking_over_ =
      nullptr;               // set during OnAssigned; Seek changes it
  Status rebalance_status_;  // of the last one; Poll reports it and joins again
  bool revoked_ = false;     // during this Poll: what it collected is another's now
};

}  // namespace millrace::event_log::kafka
