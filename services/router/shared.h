#pragma once

#include <functional>
#include <string>

#include "libs/delivery/age_clock.h"
#include "libs/delivery/memory_budget.h"
#include "services/router/shared_destination.h"

namespace millrace::router {

/// What the workers of a router share. Outlives them; thread-safe, but for `circuit_changed`, which
/// is set before they start.
struct Shared {
  Shared(const Clock& clock, size_t window_bytes, size_t window_minimum)
      : ages(clock), budget(window_bytes, window_minimum) {}

  const delivery::AgeClock ages;
  delivery::MemoryBudget budget;  // of all windows
  SharedDestinations destinations;
  /// Tells all workers that a destination began or ceased to fail as a whole. Any thread.
  std::function<void(const std::string& destination_id)> circuit_changed;
};

}  // namespace millrace::router
