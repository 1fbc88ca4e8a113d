#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "libs/base/string_map.h"
#include "libs/event_log/event_log.h"
#include "libs/event_log/offset_tracker.h"
#include "millrace/config/v1/workspace.pb.h"
#include "services/router/keyed_window.h"
#include "services/router/retry_schedule.h"
#include "services/router/router.h"

namespace millrace::router {

struct Partition;
struct Target;

/// One event on its way to one destination. Shared by its partition and whoever works on it.
struct Delivery {
  std::shared_ptr<Partition> partition;
  std::shared_ptr<const void> owner;  // keeps key and event alive
  std::string_view key;
  std::string_view event;
  delivery::v1::DeliveryMeta meta;
  int64_t offset = 0;
  int64_t appended_at_us = 0;
  uint64_t ticket = 0;
  bool ordered = true;
  Delivery* next_of_key = nullptr;

  std::vector<http::ClientRequest> requests;
  size_t next_request = 0;  // those before it are delivered
  uint64_t mapped_by = 0;   // Target::version then
  uint32_t attempts = 0;
  uint32_t engine_faults = 0;
};
using DeliveryPtr = std::shared_ptr<Delivery>;

/// One configured destination as one worker sees it.
struct Target {
  explicit Target(std::string destination_id) : id(std::move(destination_id)) {}

  const std::string id;
  config::v1::Destination destination;
  const destination::v1::Definition* definition = nullptr;
  std::shared_ptr<destination::Mapper> mapper;  // null: to be made
  uint64_t version = 0;                         // grows with each change of the destination
  std::vector<std::string> secrets;

  std::deque<DeliveryPtr> to_map;
  std::deque<DeliveryPtr> to_send;
  size_t mapping = 0;  // batches at the script workers
  size_t in_flight = 0;
  size_t max_in_flight = 64;
  TokenBucket bucket;
  MonotonicTime not_before{};         // of the next request: Retry-After
  MonotonicTime make_mapper_after{};  // when making it failed
  MonotonicTime retry_sampled_at{};

  struct SourceMetrics {
    telemetry::Counter* delivered = nullptr;
    telemetry::Counter* filtered = nullptr;
    telemetry::Counter* dead_lettered = nullptr;
    telemetry::Counter* retries = nullptr;
  };
  StringMap<SourceMetrics> metrics;
  telemetry::Histogram* latency = nullptr;
  telemetry::Gauge* in_flight_gauge = nullptr;
  telemetry::Gauge* window_gauge = nullptr;
  size_t window = 0;  // deliveries in memory
};

/// One partition of a destination's topic that this worker reads.
struct Partition {
  Partition(event_log::TopicPartition name_in, const event_log::CommittedOffset& committed,
            std::shared_ptr<Target> target_in)
      : name(std::move(name_in)),
        target(std::move(target_in)),
        tracker(committed.offset, committed.metadata) {}

  const event_log::TopicPartition name;
  const std::shared_ptr<Target> target;
  event_log::OffsetTracker tracker;
  KeyedWindow<Delivery> window;
  std::unordered_map<uint64_t, DeliveryPtr> deliveries;  // by ticket
  size_t bytes = 0;
  size_t in_flight = 0;
  bool paused = false;
  bool dropping = false;  // starts nothing more
  bool gone = false;      // answers no longer count
};

}  // namespace millrace::router
