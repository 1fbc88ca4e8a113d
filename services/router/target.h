#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/string_map.h"
#include "libs/destination/mapper.h"
#include "libs/secrets/mask.h"
#include "libs/telemetry/metrics.h"
#include "millrace/config/v1/workspace.pb.h"
#include "millrace/destination/v1/definition.pb.h"
#include "services/router/delivery.h"
#include "services/router/retry_schedule.h"

namespace millrace::router {

/// One configured destination as one worker sees it: what waits to be mapped, sent and tried again.
/// The worker's thread alone uses it.
struct Target {
  explicit Target(std::string destination_id) : id(std::move(destination_id)) {}

  const std::string id;
  config::v1::Destination destination;
  const destination::v1::Definition* definition = nullptr;
  std::shared_ptr<destination::Mapper> mapper;  // null: to be made
  uint64_t version = 0;                         // grows with each change of the destination
  secrets::Mask mask;                           // of the configuration's secrets

  std::deque<DeliveryPtr> to_map;
  std::deque<DeliveryPtr> to_send;
  RetryQueue retries;
  size_t mapping = 0;  // batches at the script workers
  size_t in_flight = 0;
  size_t max_in_flight = 64;
  TokenBucket bucket;
  MonotonicTime not_before{};         // of the next request: Retry-After
  MonotonicTime make_mapper_after{};  // when making it failed

  // The engine's: whether it is among the ready ones, and its entry among the timers.
  bool ready = false;
  std::optional<MonotonicTime> wakes_at;

  size_t window = 0;  // deliveries in memory
  telemetry::Gauge* in_flight_gauge = nullptr;
  telemetry::Gauge* window_gauge = nullptr;
};

}  // namespace millrace::router
