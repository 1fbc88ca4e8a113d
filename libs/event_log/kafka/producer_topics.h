#pragma once

#include <atomic>
#include <memory>
#include <string_view>

#include "libs/event_log/kafka/cluster.h"

namespace millrace::event_log::kafka {

/// A producer's topics: handles kept open, and the choice of the partition.
///
/// The partition is computed here, with the hash of Kafka's own clients, so that both backends of
/// the log agree. Thread-safety: all methods may be called from any thread.
class ProducerTopics {
 public:
  struct Topic {
    ~Topic() {
      if (handle != nullptr) rd_kafka_topic_destroy(handle);
    }
    rd_kafka_topic_t* handle = nullptr;
    std::atomic<int32_t> partitions = 0;
  };

  /// `producer` outlives this.
  ProducerTopics(Cluster& cluster, rd_kafka_t* producer) : cluster_(cluster), producer_(producer) {}

  Cluster& cluster() { return cluster_; }

  /// The topic, valid as long as this. The first use of a topic asks the cluster.
  StatusOr<Topic*> Find(std::string_view name);
  /// Looks the topic's partitions up anew at its next use.
  void Forget(const rd_kafka_topic_t* handle);

  /// Queues one record; `opaque` comes back with its delivery report. `spread` picks the partition
  /// of a record without key.
  Status Produce(const Topic& topic, const Record& record, uint64_t spread, void* opaque);

 private:
  Cluster& cluster_;
  rd_kafka_t* producer_;
  Mutex mu_;
  StringMap<std::unique_ptr<Topic>> topics_ ABSL_GUARDED_BY(mu_);
};

}  // namespace millrace::event_log::kafka
