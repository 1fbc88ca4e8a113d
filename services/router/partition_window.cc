#include "services/router/partition_window.h"

#include <utility>

#include "services/router/target.h"

namespace millrace::router {

PartitionWindow::PartitionWindow(const event_log::CommittedOffset& committed,
                                 std::shared_ptr<Target> target, WindowLimits limits)
    : name_(committed.partition),
      target_(std::move(target)),
      limits_(limits),
      tracker_(committed.offset, committed.metadata) {}

DeliveryPtr PartitionWindow::TakeIn(const event_log::ConsumedRecord& record) {
  bool done = false;
  const uint64_t ticket = tracker_.Add(record.offset, &done);
  if (done) return nullptr;
  auto delivery = std::make_shared<Delivery>();
  delivery->window = shared_from_this();
  delivery->bytes.reserve(record.key.size() + record.value.size());
  delivery->bytes.append(record.key).append(record.value);
  delivery->key = std::string_view(delivery->bytes).substr(0, record.key.size());
  delivery->event = std::string_view(delivery->bytes).substr(record.key.size());
  delivery->offset = record.offset;
  delivery->ticket = ticket;
  delivery->appended_at_us = record.appended_at_us;
  delivery->ordered = target_->definition == nullptr || !target_->definition->unordered();
  auto& meta = delivery->meta;
  const bool understood =
      meta.ParseFromArray(record.meta.data(), static_cast<int>(record.meta.size()));
  if (!understood) meta.Clear();
  if (meta.destination_id().empty()) meta.set_destination_id(target_->id);
  bytes_ += delivery->bytes.size();
  ++target_->window;
  deliveries_.emplace(record.offset, delivery);
  return delivery;
}

bool PartitionWindow::MayGo(const DeliveryPtr& delivery) {
  return !delivery->ordered || window_.Add(delivery.get());
}

DeliveryPtr PartitionWindow::Finish(const DeliveryPtr& delivery) {
  tracker_.Finish(delivery->ticket);
  DeliveryPtr next;
  if (delivery->ordered) {
    const Delivery* follower = window_.Finish(delivery.get());
    if (follower != nullptr) next = deliveries_.at(follower->offset);
  }
  bytes_ -= delivery->bytes.size();
  --target_->window;
  deliveries_.erase(delivery->offset);
  return next;
}

void PartitionWindow::Clear() {
  target_->window -= deliveries_.size();
  deliveries_.clear();
  bytes_ = 0;
}

bool PartitionWindow::Full(size_t numerator, size_t denominator) const {
  return deliveries_.size() * denominator >= limits_.records * numerator ||
         bytes_ * denominator >= limits_.bytes * numerator || !tracker_.RoomForMore();
}

}  // namespace millrace::router
