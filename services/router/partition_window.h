#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "libs/event_log/event_log.h"
#include "libs/event_log/offset_tracker.h"
#include "services/router/delivery.h"
#include "services/router/keyed_window.h"

namespace millrace::router {

struct Target;

struct WindowLimits {
  size_t records = 10'000;
  size_t bytes = size_t{32} << 20;
};

/// One partition that a worker reads: the events of it that are in memory, in what order they may
/// go, and how far the partition is done.
///
/// Shared by the worker and the deliveries in it. One thread.
class PartitionWindow : public std::enable_shared_from_this<PartitionWindow> {
 public:
  PartitionWindow(const event_log::CommittedOffset& committed, std::shared_ptr<Target> target,
                  WindowLimits limits);

  const event_log::TopicPartition& name() const { return name_; }
  Target& target() const { return *target_; }
  const std::shared_ptr<Target>& shared_target() const { return target_; }

  /// Takes a record in; null when it was finished before the restart. The bytes are copied.
  DeliveryPtr TakeIn(const event_log::ConsumedRecord& record);
  /// Whether `delivery`, just taken in, may go at once.
  bool MayGo(const DeliveryPtr& delivery);
  /// Takes the delivery out as done; gives the next of its user, which may go now, or null.
  DeliveryPtr Finish(const DeliveryPtr& delivery);
  /// Forgets all deliveries: another reads them again.
  void Clear();

  /// Whether more than `numerator` / `denominator` of what it may hold is in it.
  bool Full(size_t numerator, size_t denominator) const;
  size_t size() const { return deliveries_.size(); }
  event_log::OffsetTracker& tracker() { return tracker_; }

  // The worker's notes.
  size_t in_flight = 0;
  bool paused = false;
  bool dropping = false;  // starts nothing more
  bool gone = false;      // answers no longer count

 private:
  const event_log::TopicPartition name_;
  const std::shared_ptr<Target> target_;
  const WindowLimits limits_;
  event_log::OffsetTracker tracker_;
  KeyedWindow<Delivery> window_;
  std::unordered_map<int64_t, DeliveryPtr> deliveries_;  // by offset
  size_t bytes_ = 0;
};

}  // namespace millrace::router
