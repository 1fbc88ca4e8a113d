#include "services/router/partition_window.h"

#include <algorithm>
#include <utility>

#include "services/router/target.h"

namespace millrace::router {
namespace {

// A destination that sends nothing needs in memory only what it may have to give up next.
constexpr size_t kHeldRecords = 256;

}  // namespace

PartitionWindow::PartitionWindow(const event_log::CommittedOffset& committed,
                                 std::shared_ptr<Target> target, WindowLimits limits,
                                 WindowDeps deps, bool parked)
    : name_(committed.partition),
      target_(std::move(target)),
      limits_(limits),
      deps_(deps),
      parked_(parked),
      tracker_(committed.offset, committed.metadata),
      taker_(deps.budget.AddTaker()) {}

DeliveryPtr PartitionWindow::TakeIn(const event_log::ConsumedRecord& record, MonotonicTime now) {
  bool done = false;
  const uint64_t ticket = tracker_.Add(record.offset, &done);
  if (done) return nullptr;
  auto delivery = std::make_shared<Delivery>();
  delivery->window = shared_from_this();
  delivery->parked = parked_;
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
  delivery->attempts = meta.attempts();
  delivery->born = deps_.ages.BornAt(delivery->first_appended_at_us(), now);
  born_after_ = std::min(born_after_, delivery->born);
  bytes_ += delivery->bytes.size();
  Charge(*delivery, delivery->bytes.size());
  ++target_->window;
  deliveries_.emplace_hint(deliveries_.end(), record.offset, delivery);
  return delivery;
}

bool PartitionWindow::MayGo(const DeliveryPtr& delivery) {
  return !delivery->ordered || window_.Add(delivery.get());
}

DeliveryPtr PartitionWindow::Finish(const DeliveryPtr& delivery) {
  DeliveryPtr next;
  if (delivery->ordered) {
    const Delivery* follower = window_.Finish(delivery.get());
    if (follower != nullptr) next = deliveries_.at(follower->offset);
  }
  Remove(delivery);
  return next;
}

std::vector<DeliveryPtr> PartitionWindow::TakeUser(const DeliveryPtr& first) {
  std::vector<DeliveryPtr> all{first};
  if (!first->ordered) return all;
  for (Delivery* next = window_.Finish(first.get()); next != nullptr;) {
    all.push_back(deliveries_.at(next->offset));
    next = window_.Finish(next);
  }
  return all;
}

void PartitionWindow::Remove(const DeliveryPtr& delivery) {
  tracker_.Finish(delivery->ticket);
  bytes_ -= delivery->bytes.size();
  taker_->Give(delivery->charged_bytes);
  --target_->window;
  deliveries_.erase(delivery->offset);
  if (deliveries_.empty()) born_after_ = MonotonicTime::max();
}

void PartitionWindow::Charge(Delivery& delivery, size_t bytes) {
  delivery.charged_bytes += bytes;
  taker_->Charge(bytes);
}

void PartitionWindow::Clear() {
  target_->window -= deliveries_.size();
  for (const auto& [offset, delivery] : deliveries_) taker_->Give(delivery->charged_bytes);
  deliveries_.clear();
  bytes_ = 0;
}

bool PartitionWindow::Full(size_t numerator, size_t denominator) const {
  const size_t records =
      target_->holds() ? std::min(limits_.records, kHeldRecords) : limits_.records;
  return deliveries_.size() * denominator >= records * numerator ||
         bytes_ * denominator >= limits_.bytes * numerator || !tracker_.RoomForMore() ||
         !taker_->MayTake();
}

MonotonicTime PartitionWindow::OldestBirth() {
  born_after_ = MonotonicTime::max();
  for (const auto& [offset, delivery] : deliveries_) {
    born_after_ = std::min(born_after_, delivery->born);
    if (!parked_) break;  // in the order of their birth
  }
  return born_after_;
}

}  // namespace millrace::router
