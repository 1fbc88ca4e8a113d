#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "libs/event_log/event_log.h"

/// What the stages share: which topics there are, who writes and reads each, how long it keeps
/// what.
namespace millrace::pipeline {

/// The groups that read topics. Their committed offsets are what a service goes on from.
inline constexpr std::string_view kProcessorGroup = "processor";
inline constexpr std::string_view kRouterGroup = "router";
inline constexpr std::string_view kLoaderGroup = "warehouse-loader";

/// Which service reads the topics of a destination.
enum class DestinationKind { kRouted, kWarehouse };

/// A topic as docs/architecture.md shows it.
struct TopicSpec {
  std::string name;
  event_log::TopicOptions options;
  std::string key;
  std::string writers;
  std::string readers;
  std::string kept;  // how long, in words
};

struct TopologyOptions {
  int ingest_partitions = 1;
  int destination_partitions = 1;
  /// The longest time a message id is remembered: the changelog of dedup keeps as much.
  std::chrono::milliseconds dedup_window{std::chrono::hours(24)};
  /// The longest time a transformation's state lives.
  std::chrono::milliseconds state_lifetime{std::chrono::hours(31 * 24)};
};

/// The topics that are there whatever the configuration, but for the changelogs.
std::vector<TopicSpec> SharedTopics(const TopologyOptions& options);
/// The changelogs of the processor's stores.
std::vector<TopicSpec> ChangelogTopics(const TopologyOptions& options);
/// Those of one destination: its own, and for a routed one that of its parked users.
std::vector<TopicSpec> DestinationTopics(std::string_view destination_id, DestinationKind kind,
                                         const TopologyOptions& options);

/// Topic of the users that a destination's router parked. Partitioned as the destination's own.
std::string ParkingTopic(std::string_view destination_id);
/// The destination of a `destination.` topic; nothing for another topic.
std::optional<std::string> DestinationOf(std::string_view topic);
/// The destination of a `parking.` topic; nothing for another topic.
std::optional<std::string> ParkedDestinationOf(std::string_view topic);

/// Makes the shared topics that are not there, and gives those that are there their options. Any
/// service may call it. Errors as EventLog::EnsureTopic, with the topic's name.
Status EnsureShared(event_log::EventLog& log, const TopologyOptions& options);
/// Makes the changelogs. Called by the processor alone, which knows how long each has to keep.
Status EnsureChangelogs(event_log::EventLog& log, const TopologyOptions& options);
/// Makes a destination's topics. Called by their one owner, the control plane, alone: so a deleted
/// topic never comes back from an old configuration.
Status EnsureDestination(event_log::EventLog& log, std::string_view destination_id,
                         DestinationKind kind, const TopologyOptions& options);
/// Deletes them with all that waits in them; OK when there are none.
Status DeleteDestination(event_log::EventLog& log, std::string_view destination_id);

}  // namespace millrace::pipeline
