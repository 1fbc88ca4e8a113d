#include "libs/pipeline/topology.h"

#include <algorithm>
#include <utility>

namespace millrace::pipeline {
namespace {

using std::chrono::hours;

constexpr std::string_view kDestinationPrefix = "destination.";
constexpr std::string_view kParkingPrefix = "parking.";

// Its reader trims the topic: no age frees a record that was not read.
constexpr std::chrono::milliseconds kUntilTrimmed = hours(24 * 365 * 10);
// Viewers look at what happens now, and there is a status for every event of every destination.
constexpr std::chrono::milliseconds kStatusRetention = hours(1);
// A store that was away so long starts anew from the topic's oldest record.
constexpr std::chrono::milliseconds kLeastChangelog = hours(7 * 24);
constexpr std::chrono::milliseconds kBeyondLifetime = hours(24);

std::optional<std::string> After(std::string_view prefix, std::string_view topic) {
  if (topic.substr(0, prefix.size()) != prefix) return std::nullopt;
  return std::string(topic.substr(prefix.size()));
}

Status EnsureAll(event_log::EventLog& log, const std::vector<TopicSpec>& topics) {
  for (const TopicSpec& topic : topics) {
    const Status status = log.EnsureTopic(topic.name, topic.options);
    if (!status.ok()) {
      return Error(status.code(), "topic {}: {}", topic.name, Message(status));
    }
  }
  return OkStatus();
}

}  // namespace

std::vector<TopicSpec> SharedTopics(const TopologyOptions& options) {
  return {
      {.name = std::string(event_log::kIngestTopic),
       .options = {.partitions = options.ingest_partitions,
                   .readers = {std::string(kProcessorGroup)}},
       .key = "workspace and user",
       .writers = "gateway, control-plane (redrive)",
       .readers = "processor",
       .kept = "until the processor has read it"},
      {.name = std::string(event_log::kCountersTopic),
       .options = {.retention = kUntilTrimmed},
       .key = "none",
       .writers = "processor, router, warehouse-loader, control-plane",
       .readers = "control-plane, without a group",
       .kept = "until a snapshot covers it"},
      {.name = std::string(event_log::kDeadLetterTopic),
       .options = {.retention = kUntilTrimmed},
       .key = "workspace and user",
       .writers = "processor, router, warehouse-loader",
       .readers = "control-plane, without a group",
       .kept = "until it is in the control plane's store"},
      {.name = std::string(event_log::kReportTopic),
       .options = {.retention = kUntilTrimmed},
       .key = "none",
       .writers = "processor",
       .readers = "control-plane, without a group",
       .kept = "until it is in the control plane's store"},
      {.name = std::string(event_log::kDeliveryStatusTopic),
       .options = {.retention = kStatusRetention},
       .key = "workspace",
       .writers = "router, warehouse-loader",
       .readers = "control-plane, without a group, while somebody looks",
       .kept = "1 hour"},
  };
}

std::vector<TopicSpec> ChangelogTopics(const TopologyOptions& options) {
  const int ingest = options.ingest_partitions;
  return {
      {.name = std::string(event_log::kDedupTopic),
       .options = {.partitions = ingest,
                   .retention = std::max(kLeastChangelog, options.dedup_window)},
       .key = "none; partitions as those of ingest",
       .writers = "processor",
       .readers = "processor, without a group",
       .kept = "the longest dedup window, at least 7 days; local: until the store beside it is "
               "durable"},
      {.name = std::string(event_log::kStateTopic),
       .options = {.partitions = ingest, .retention = options.state_lifetime + kBeyondLifetime},
       .key = "none; partitions as those of ingest",
       .writers = "processor",
       .readers = "processor, without a group",
       .kept = "the longest lifetime of a value and a day; local: until the store beside it is "
               "durable"},
  };
}

std::vector<TopicSpec> DestinationTopics(std::string_view destination_id, DestinationKind kind,
                                         const TopologyOptions& options) {
  const bool routed = kind == DestinationKind::kRouted;
  const std::string reader(routed ? kRouterGroup : kLoaderGroup);
  std::vector<TopicSpec> topics = {
      {.name = event_log::DestinationTopic(destination_id),
       .options = {.partitions = options.destination_partitions, .readers = {reader}},
       .key = "workspace and user",
       .writers = "processor, control-plane (redrive)",
       .readers = reader,
       .kept = "until its reader has read it, within the destination's share"}};
  if (routed) {
    topics.push_back(
        {.name = ParkingTopic(destination_id),
         .options = {.partitions = options.destination_partitions, .readers = {reader}},
         .key = "workspace and user; partitions as those of the destination",
         .writers = "router",
         .readers = reader,
         .kept = "until its reader has read it, within the destination's share"});
  }
  return topics;
}

std::string ParkingTopic(std::string_view destination_id) {
  return std::string(kParkingPrefix) + std::string(destination_id);
}

std::optional<std::string> DestinationOf(std::string_view topic) {
  return After(kDestinationPrefix, topic);
}

std::optional<std::string> ParkedDestinationOf(std::string_view topic) {
  return After(kParkingPrefix, topic);
}

Status EnsureShared(event_log::EventLog& log, const TopologyOptions& options) {
  return EnsureAll(log, SharedTopics(options));
}

Status EnsureChangelogs(event_log::EventLog& log, const TopologyOptions& options) {
  return EnsureAll(log, ChangelogTopics(options));
}

Status EnsureDestination(event_log::EventLog& log, std::string_view destination_id,
                         DestinationKind kind, const TopologyOptions& options) {
  return EnsureAll(log, DestinationTopics(destination_id, kind, options));
}

Status DeleteDestination(event_log::EventLog& log, std::string_view destination_id) {
  MR_RETURN_IF_ERROR(log.DeleteTopic(event_log::DestinationTopic(destination_id)));
  return log.DeleteTopic(ParkingTopic(destination_id));
}

}  // namespace millrace::pipeline
