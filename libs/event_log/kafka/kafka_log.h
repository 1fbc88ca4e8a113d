#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "libs/base/clock.h"
#include "libs/event_log/event_log.h"

namespace millrace::event_log {

struct KafkaLogOptions {
  std::string brokers;             // "host:port,host:port"
  std::string prefix;              // before every topic, group and transaction id
  int16_t replication_factor = 1;  // of topics made by EnsureTopic
  /// Further librdkafka settings (security.protocol, sasl.*, session.timeout.ms, ...); they
  /// override ours. Unknown names and bad values are refused.
  std::map<std::string, std::string> properties;
  Clock* clock = nullptr;  // stamps records; null: the machine's
  /// How often what all readers of a topic have read is deleted.
  // Rare: librdkafka 2.0.2 may end the process when a broker goes while it is asked for offsets.
  std::chrono::milliseconds trim_interval{600'000};
};

/// The event log on a Kafka cluster. Within about ten seconds kUnavailable, naming the brokers,
/// when none answers; kInvalidArgument for a property that librdkafka refuses.
///
/// Offsets are not dense: a commit or abort marker of a transaction takes one offset in each
/// partition it wrote to, and aborted records keep theirs. Only their order may be relied on.
StatusOr<std::unique_ptr<EventLog>> OpenKafkaLog(const KafkaLogOptions& options);

}  // namespace millrace::event_log
