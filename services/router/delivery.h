#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/clock.h"
#include "libs/delivery/circuit.h"
#include "libs/destination/exchange.h"
#include "millrace/delivery/v1/delivery.pb.h"

namespace millrace::router {

class PartitionWindow;
struct Delivery;
using DeliveryPtr = std::shared_ptr<Delivery>;

/// Deliveries that wait for a time of theirs, the first due in front.
using RetryQueue = std::multimap<MonotonicTime, DeliveryPtr>;

/// One event on its way to one destination. Shared by its window and whoever works on it; the
/// worker's thread alone changes it.
struct Delivery {
  enum class Stage {
    kIdle,     // behind another of its user, or just taken in
    kQueued,   // to be mapped or sent
    kMapping,  // at the mapper
    kSending,  // its request is under way
    kWaiting,  // for its next attempt
  };

  std::shared_ptr<PartitionWindow> window;  // of the partition it was read from
  bool parked = false;                      // read from the parking topic
  std::string bytes;                        // its own copy: key, then event
  std::string_view key;
  std::string_view event;
  delivery::v1::DeliveryMeta meta;
  int64_t offset = 0;
  uint64_t ticket = 0;         // of the window's tracker
  int64_t appended_at_us = 0;  // of this record
  MonotonicTime born{};        // from when on its age counts
  size_t charged_bytes = 0;    // of the memory budget
  bool ordered = true;
  Delivery* next_of_key = nullptr;

  Stage stage = Stage::kIdle;
  std::vector<destination::Prepared> requests;
  size_t next_request = 0;  // those before it are delivered
  uint64_t mapped_by = 0;   // Target::version then
  uint32_t attempts = 0;
  uint32_t forgiven_attempts = 0;  // before the destination was changed: of no weight for back-off
  uint32_t engine_faults = 0;
  MonotonicTime failing_since{};
  delivery::ForbiddenNote forbidden;
  bool probe = false;          // of an open circuit
  RetryQueue::iterator retry;  // valid while kWaiting

  /// When it came into the destination's topic.
  int64_t first_appended_at_us() const {
    return meta.first_appended_at_us() != 0 ? meta.first_appended_at_us() : appended_at_us;
  }
};

}  // namespace millrace::router
