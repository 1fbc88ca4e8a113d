#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/delivery/age_clock.h"
#include "libs/delivery/memory_budget.h"
#include "libs/event_log/event_log.h"
#include "libs/event_log/offset_tracker.h"
#include "services/router/delivery.h"
#include "services/router/keyed_window.h"

namespace millrace::router {

class Lane;
struct Target;

struct WindowLimits {
  size_t records = 10'000;
  size_t bytes = size_t{32} << 20;
};

/// What windows of a process share; outlives them.
struct WindowDeps {
  const delivery::AgeClock& ages;
  delivery::MemoryBudget& budget;
};

/// One partition that a worker reads: the events of it that are in memory, in what order they may
/// go, and how far the partition is done.
///
/// Shared by the worker and the deliveries in it. One thread.
class PartitionWindow : public std::enable_shared_from_this<PartitionWindow> {
 public:
  PartitionWindow(const event_log::CommittedOffset& committed, std::shared_ptr<Target> target,
                  WindowLimits limits, WindowDeps deps, bool parked);

  const event_log::TopicPartition& name() const { return name_; }
  Target& target() const { return *target_; }

  /// Takes a record in; null when it was finished before the restart. The bytes are copied.
  DeliveryPtr TakeIn(const event_log::ConsumedRecord& record, MonotonicTime now);
  /// Whether `delivery`, just taken in, may go at once.
  bool MayGo(const DeliveryPtr& delivery);
  /// Takes the delivery out as done; gives the next of its user, which may go now, or null.
  DeliveryPtr Finish(const DeliveryPtr& delivery);
  /// Takes `first` and all that wait behind it out of their order; each is then to be removed.
  std::vector<DeliveryPtr> TakeUser(const DeliveryPtr& first);
  /// Takes a delivery that has no place in the order out as done.
  void Remove(const DeliveryPtr& delivery);
  /// Counts what a delivery holds beside its own bytes.
  void Charge(Delivery& delivery, size_t bytes);
  /// Forgets all deliveries: another reads them again.
  void Clear();

  /// Whether more than `numerator` / `denominator` of what it may hold is in it.
  bool Full(size_t numerator, size_t denominator) const;
  size_t size() const { return deliveries_.size(); }
  size_t users() const { return window_.keys(); }
  const std::map<int64_t, DeliveryPtr>& deliveries() const { return deliveries_; }  // by offset
  event_log::OffsetTracker& tracker() { return tracker_; }
  /// No delivery in it was born before; may be too early.
  MonotonicTime born_after() const { return born_after_; }
  /// Looks the earliest up.
  MonotonicTime OldestBirth();

  // Notes of those that work on it.
  Lane* lane = nullptr;
  size_t in_flight = 0;
  bool dropping = false;  // starts nothing more
  bool gone = false;      // answers no longer count

 private:
  const event_log::TopicPartition name_;
  const std::shared_ptr<Target> target_;
  const WindowLimits limits_;
  const WindowDeps deps_;
  const bool parked_;
  event_log::OffsetTracker tracker_;
  KeyedWindow<Delivery> window_;
  std::map<int64_t, DeliveryPtr> deliveries_;
  const std::unique_ptr<delivery::MemoryBudget::Taker> taker_;
  size_t bytes_ = 0;
  MonotonicTime born_after_ = MonotonicTime::max();
};

}  // namespace millrace::router
