#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/string_map.h"
#include "libs/delivery/give_up_rules.h"
#include "libs/destination/mapper.h"
#include "libs/secrets/mask.h"
#include "libs/telemetry/metrics.h"
#include "millrace/config/v1/workspace.pb.h"
#include "millrace/destination/v1/definition.pb.h"
#include "services/router/delivery.h"
#include "services/router/shared_destination.h"

namespace millrace::router {

/// One configured destination as one worker sees it: what waits to be mapped, sent and tried again.
/// The worker's thread alone uses it.
struct Target {
  Target(std::string destination_id, std::shared_ptr<SharedDestination> shared_in)
      : id(std::move(destination_id)), shared(std::move(shared_in)) {}

  const std::string id;
  const std::shared_ptr<SharedDestination> shared;
  config::v1::Destination destination;
  const destination::v1::Definition* definition = nullptr;
  std::shared_ptr<destination::Mapper> mapper;  // null: to be made
  uint64_t version = 0;                         // grows with each change of the destination
  secrets::Mask mask;                           // of the configuration's secrets
  delivery::GiveUpRules give_up;

  /// What may go now, as it comes: fresh events and those of parked users.
  struct Queue {
    std::deque<DeliveryPtr> to_map;
    std::deque<DeliveryPtr> to_send;
    std::deque<DeliveryPtr> again;  // to be sent, and failed before
    size_t in_flight = 0;
    bool may_send() const { return !to_send.empty() || !again.empty(); }
    bool empty() const { return to_map.empty() && !may_send(); }
    std::deque<DeliveryPtr>& list(const Delivery& delivery) {
      return delivery.attempts > 0 ? again : to_send;
    }
  };
  Queue fresh;
  Queue parked;
  uint64_t turn = 0;  // of the sends, for a fair share
  RetryQueue retries;
  size_t mapping = 0;  // batches at the script workers
  size_t max_in_flight = 64;
  size_t max_shared_in_flight = 0;    // of all workers; 0 = no such limit
  MonotonicTime make_mapper_after{};  // when making it failed
  int64_t try_all_since_us = 0;       // what was parked before is tried at once

  // The engine's: whether it is among the ready ones, and its entry among the timers.
  bool ready = false;
  std::optional<MonotonicTime> wakes_at;

  size_t window = 0;  // deliveries in memory
  telemetry::Gauge* in_flight_gauge = nullptr;
  telemetry::Gauge* window_gauge = nullptr;
  telemetry::Gauge* oldest_gauge = nullptr;
  telemetry::Gauge* parked_users_gauge = nullptr;
  telemetry::Gauge* parked_events_gauge = nullptr;

  size_t in_flight() const { return fresh.in_flight + parked.in_flight; }
  Queue& queue(const Delivery& delivery) { return delivery.parked ? parked : fresh; }
  /// Takes events in and sends none.
  bool holds() const { return destination.paused() || !destination.enabled(); }
};

}  // namespace millrace::router
