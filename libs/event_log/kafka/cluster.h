#pragma once

#include <librdkafka/rdkafka.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/string_map.h"
#include "libs/event_log/kafka/kafka_log.h"

namespace millrace::event_log::kafka {

struct PartitionListDeleter {
  void operator()(rd_kafka_topic_partition_list_t* list) const {
    rd_kafka_topic_partition_list_destroy(list);
  }
};
using PartitionList = std::unique_ptr<rd_kafka_topic_partition_list_t, PartitionListDeleter>;
inline PartitionList NewPartitionList(size_t size) {
  return PartitionList(rd_kafka_topic_partition_list_new(static_cast<int>(size)));
}

struct QueueDeleter {
  void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
};
using Queue = std::unique_ptr<rd_kafka_queue_t, QueueDeleter>;

/// A client of librdkafka. Shared because a consumed message must not outlive its client.
using Handle = std::shared_ptr<rd_kafka_t>;
using Settings = std::vector<std::pair<std::string, std::string>>;

/// What `code` means to a caller of the event log; OK for no error.
Status ToStatus(rd_kafka_resp_err_t code, std::string_view what, std::string_view detail = {});

/// Which cluster, under which prefix, and what is known of its topics.
///
/// Thread-safety: all methods may be called from any thread.
class Cluster {
 public:
  static StatusOr<std::unique_ptr<Cluster>> Open(const KafkaLogOptions& options);

  /// A client with our settings, then `settings`, then the user's properties. `configure` sets
  /// callbacks.
  StatusOr<Handle> NewHandle(rd_kafka_type_t type, const Settings& settings,
                             const std::function<void(rd_kafka_conf_t*)>& configure = {}) const;

  std::string FullName(std::string_view name) const { return options_.prefix + std::string(name); }
  /// The name without the prefix; false when it is not one of ours.
  bool Strip(std::string_view full_name, std::string_view* name) const;

  /// The number of partitions, asked for once; kNotFound when there is no such topic.
  StatusOr<int32_t> PartitionCount(std::string_view topic);
  /// Asks the cluster, and remembers the answer.
  StatusOr<int32_t> FetchPartitionCount(std::string_view topic);
  void ForgetTopic(std::string_view topic);

  rd_kafka_t* admin() const { return admin_.get(); }
  const KafkaLogOptions& options() const { return options_; }
  const Clock& clock() const { return *options_.clock; }

  /// The partitions with full topic names; with offsets and metadata for CommittedOffset.
  PartitionList ToList(std::span<const CommittedOffset> offsets) const;
  /// The reverse; offsets that are none become -1.
  std::vector<CommittedOffset> FromList(const rd_kafka_topic_partition_list_t& list) const;

 private:
  explicit Cluster(KafkaLogOptions options) : options_(std::move(options)) {}

  KafkaLogOptions options_;
  Handle admin_;
  Mutex mu_;
  StringMap<int32_t> partition_counts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace millrace::event_log::kafka
