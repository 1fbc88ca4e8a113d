#include "libs/service/open_log.h"

#include <algorithm>

#include "libs/event_log/kafka/kafka_log.h"
#include "libs/event_log/local/local_log.h"
#include "libs/pipeline/topology.h"

namespace millrace::service {

StatusOr<std::unique_ptr<event_log::EventLog>> OpenEventLog(
    const settings::v1::EventLogSettings& settings, const std::string& data_dir, Clock& clock) {
  if (settings.backend().empty() || settings.backend() == "local") {
    event_log::LocalLogOptions options;
    options.path = LocalLogFolder(settings, data_dir);
    options.clock = &clock;
    // Of the changelogs: a processor that opens its stores writes to them before it reads events.
    for (const auto topic :
         {event_log::kCountersTopic, event_log::kDeliveryStatusTopic, event_log::kDeadLetterTopic,
          event_log::kReportTopic, event_log::kDedupTopic, event_log::kStateTopic}) {
      options.closing_topics.emplace_back(topic);
    }
    if (settings.local().quota_bytes() > 0) {
      options.quota_bytes = static_cast<uint64_t>(settings.local().quota_bytes());
    }
    if (settings.local().segment_bytes() > 0) {
      options.segment_bytes = static_cast<uint64_t>(settings.local().segment_bytes());
    }
    return event_log::OpenLocalLog(options);
  }
  if (settings.backend() == "kafka") {
    if (settings.kafka().brokers().empty()) {
      return Error(StatusCode::kInvalidArgument,
                   "event_log.kafka.brokers is not set; give host:port of the brokers");
    }
    event_log::KafkaLogOptions options;
    options.brokers = settings.kafka().brokers();
    options.prefix = settings.kafka().prefix().empty() ? "millrace." : settings.kafka().prefix();
    if (settings.kafka().replication_factor() > 0) {
      options.replication_factor = static_cast<int16_t>(settings.kafka().replication_factor());
    }
    options.properties.insert(settings.kafka().properties().begin(),
                              settings.kafka().properties().end());
    options.clock = &clock;
    return event_log::OpenKafkaLog(options);
  }
  return Error(StatusCode::kInvalidArgument, "event_log.backend is '{}'; use local or kafka",
               settings.backend());
}

std::string LocalLogFolder(const settings::v1::EventLogSettings& settings,
                           const std::string& data_dir) {
  if (settings.backend() == "kafka") return {};
  return settings.local().path().empty() ? data_dir + "/log" : settings.local().path();
}

Status EnsureSharedTopics(event_log::EventLog& log,
                          const settings::v1::EventLogSettings& settings) {
  return pipeline::EnsureShared(log, {.ingest_partitions = IngestPartitions(settings)});
}

int IngestPartitions(const settings::v1::EventLogSettings& settings) {
  if (settings.ingest_partitions() > 0) return settings.ingest_partitions();
  return settings.backend() == "kafka" ? 12 : 4;
}

pipeline::ShareOptions ShareOptionsOf(const settings::v1::EventLogSettings& settings) {
  constexpr uint32_t kWhole = 100;
  pipeline::ShareOptions options{.default_bytes = settings.shares().default_bytes()};
  if (const uint32_t percent = settings.shares().together_percent(); percent > 0) {
    options.together = std::min(percent, kWhole) / 100.0;
  }
  return options;
}

int DestinationPartitions(const settings::v1::EventLogSettings& settings) {
  if (settings.destination_partitions() > 0) return settings.destination_partitions();
  return settings.backend() == "kafka" ? 12 : 4;
}

}  // namespace millrace::service
