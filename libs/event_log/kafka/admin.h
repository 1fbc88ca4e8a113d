#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "libs/event_log/kafka/cluster.h"

/// Requests to the cluster's controller: each waits for its answer, for at most a quarter of a
/// minute.
namespace millrace::event_log::kafka {

inline constexpr int kRequestMs = 15'000;

struct EventDeleter {
  void operator()(rd_kafka_event_t* event) const { rd_kafka_event_destroy(event); }
};
using Event = std::unique_ptr<rd_kafka_event_t, EventDeleter>;

struct AdminOptionsDeleter {
  void operator()(rd_kafka_AdminOptions_t* options) const {
    rd_kafka_AdminOptions_destroy(options);
  }
};
using AdminOptions = std::unique_ptr<rd_kafka_AdminOptions_t, AdminOptionsDeleter>;

AdminOptions NewAdminOptions(const Cluster& cluster, rd_kafka_admin_op_t operation);

/// Starts an admin request by `send(queue)` and waits for its answer.
StatusOr<Event> Request(const Cluster& cluster, std::string_view what,
                        const std::function<void(rd_kafka_queue_t*)>& send);

/// Settings of a topic by their names on the broker.
using TopicSettings = std::map<std::string, std::string>;

/// What the cluster must know of `options`.
TopicSettings SettingsOf(const TopicOptions& options);

/// Gives a topic these settings and leaves those that it has besides. Asks only when they differ.
Status AlterTopic(const Cluster& cluster, const std::string& full_name,
                  const TopicSettings& settings);

/// Frees the records of each partition before its offset. Partitions that are not there, or end
/// before it, are passed over.
Status DeleteRecords(const Cluster& cluster, std::span<const CommittedOffset> before);

/// What `group` has committed of these partitions; offset -1: nothing. `stable`: kUnavailable while
/// a transaction is about to move one of them.
StatusOr<std::vector<CommittedOffset>> GroupOffsets(const Cluster& cluster,
                                                    const std::string& group,
                                                    std::span<const CommittedOffset> partitions,
                                                    bool stable);

}  // namespace millrace::event_log::kafka
