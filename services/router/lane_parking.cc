// When a lane parks its users, and how.
#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "libs/base/log.h"
#include "services/router/lane.h"

namespace millrace::router {
namespace {

using std::chrono::milliseconds;

// A parked user that is tried again this soon keeps its place in memory.
constexpr milliseconds kKeepsItsPlace{30'000};
// A window that is full for so long is held up by somebody.
constexpr milliseconds kHeldUp{1'000};
constexpr milliseconds kFirstRotation{5'000};
constexpr milliseconds kLongestRotation{60'000};
constexpr int64_t kRotatedBytesPerMs = 4 << 10;  // 4 MiB a second
constexpr size_t kHotEvents = 100;
// The part of a window that one user may fill.
constexpr size_t kHotShare = 8;
constexpr milliseconds kScanPatience{30'000};

}  // namespace

bool Lane::parks() const {
  const HalfState& main = halves_[kMain];
  const HalfState& parking = halves_[kParking];
  return !scan_ && main.window != nullptr && !main.window->dropping && parking.window != nullptr &&
         !parking.window->dropping && !target_->holds();
}

bool Lane::TakesOver(const DeliveryPtr& delivery, MonotonicTime now, MonotonicTime retry_at) {
  if (!parks()) return false;
  const Half half = delivery->parked ? kParking : kMain;
  const bool must_go =
      halves_[half].paused || marked_[half].contains(ParkedUsers::HashOf(delivery->key));
  const bool for_long = delivery->parked
                            ? retry_at - now >= kKeepsItsPlace
                            : retry_at - delivery->failing_since >= options_.park_after;
  // While all fails nobody is to blame; but a probe makes room when it sees nobody else.
  const bool all_fails = target_->shared->circuit.open();
  if (all_fails ? !(must_go && half == kMain) : !(must_go || for_long)) return false;
  NoteRetryAt(*delivery, retry_at, now);
  MoveUser(delivery);
  return true;
}

void Lane::NoteRetryAt(Delivery& delivery, MonotonicTime retry_at, MonotonicTime now) const {
  const auto wait = std::max(retry_at - now, MonotonicTime::duration(0));
  delivery.meta.set_retry_at_us(window_deps_.ages.WallMicros(now) +
                                std::chrono::duration_cast<Micros>(wait).count());
}

void Lane::MoveWaiting(const std::vector<DeliveryPtr>& waiting, MonotonicTime now) {
  for (const DeliveryPtr& delivery : waiting) {
    if (!host_.MayWriteMore()) return;
    NoteRetryAt(*delivery, delivery->retry->first, now);
    host_.Withdraw(delivery);
    MoveUser(delivery);
  }
}

void Lane::MoveUser(const DeliveryPtr& first) {
  PartitionWindow& window = *first->window;
  const uint64_t user = ParkedUsers::HashOf(first->key);
  marked_[first->parked ? kParking : kMain].erase(user);
  const uint32_t unread = parked_.Unread(user);
  for (const DeliveryPtr& delivery : window.TakeUser(first)) {
    AppendAndRemove(delivery);
    if (delivery->parked) parked_.OnGone(user);
  }
  if (first->parked && first->ordered) parked_.Move(user, unread);
}

void Lane::AppendAndRemove(const DeliveryPtr& delivery) {
  Append(*delivery);
  delivery->window->Remove(delivery);
  host_.NoteChange();
}

void Lane::Append(const Delivery& delivery) {
  delivery::v1::DeliveryMeta meta = delivery.meta;
  if (meta.first_appended_at_us() == 0) meta.set_first_appended_at_us(delivery.appended_at_us);
  if (meta.destination_position() == 0) meta.set_destination_position(delivery.offset + 1);
  meta.set_attempts(delivery.attempts);
  if (!delivery.requests.empty()) {
    meta.set_requests(static_cast<uint32_t>(delivery.requests.size()));
    meta.set_requests_delivered(static_cast<uint32_t>(delivery.next_request));
  }
  host_.Park({.to = halves_[kParking].from->partition,
              .key = std::string(delivery.key),
              .meta = meta.SerializeAsString(),
              .value = std::string(delivery.event)});
  parked_.OnAppended(ParkedUsers::HashOf(delivery.key));
}

void Lane::ReleaseHeld(uint64_t user) {
  const auto it = held_.find(user);
  if (it == held_.end()) return;
  const std::vector<DeliveryPtr> held = std::move(it->second);
  held_.erase(it);
  for (const DeliveryPtr& delivery : held) AppendAndRemove(delivery);
}

void Lane::Relieve(MonotonicTime now) {
  if (scan_) {
    if (now - scan_->progress_at < kScanPatience) return;
    log::Warning("router: {}: {} of {} parked events found in the log", target_->id, scan_->seen,
                 scan_->expected);
    return EndScan(now);
  }
  if (!parks() || target_->shared->circuit.open()) {
    main_full_since_ = parking_full_since_ = {};
    return;
  }
  const auto full_for = [now](const HalfState& half, MonotonicTime* since) {
    if (!half.paused) *since = {};
    if (half.paused && *since == MonotonicTime()) *since = now;
    return half.paused ? now - *since : MonotonicTime::duration(0);
  };
  if (halves_[kMain].paused) ParkFailing(now);
  if (full_for(halves_[kMain], &main_full_since_) >= kHeldUp) MarkHot(kMain);
  if (full_for(halves_[kParking], &parking_full_since_) >= kHeldUp && parked_.unread() > 0) {
    Rotate(now);
  }
  PauseOrResume();
}

void Lane::ParkFailing(MonotonicTime now) {
  std::vector<DeliveryPtr> failing;
  for (const auto& [offset, delivery] : halves_[kMain].window->deliveries()) {
    if (delivery->stage == Delivery::Stage::kWaiting && delivery->attempts > 0) {
      failing.push_back(delivery);
    }
  }
  MoveWaiting(failing, now);
}

void Lane::MarkHot(Half half) {
  struct Load {
    size_t events = 0;
    size_t bytes = 0;
  };
  std::unordered_map<std::string_view, Load> users;
  for (const auto& [offset, delivery] : halves_[half].window->deliveries()) {
    Load& load = users[delivery->key];
    ++load.events;
    load.bytes += delivery->bytes.size();
  }
  const size_t most_events = std::max(kHotEvents, options_.window.records / kHotShare);
  const size_t most_bytes = options_.window.bytes / kHotShare;
  for (const auto& [key, load] : users) {
    if (load.events > most_events || (load.events > 1 && load.bytes > most_bytes)) {
      marked_[half].insert(ParkedUsers::HashOf(key));
    }
  }
}

// The parking topic holds more than memory does, and what is in memory does not go on: it makes
// room for the others, at a rate that costs the disk little.
void Lane::Rotate(MonotonicTime now) {
  const PartitionWindow& window = *halves_[kParking].window;
  if (parked_.users() > window.users()) MarkHot(kParking);
  if (now < rotate_at_) return;
  std::vector<DeliveryPtr> waiting;
  for (const auto& [offset, delivery] : window.deliveries()) {
    if (delivery->stage == Delivery::Stage::kWaiting && delivery->retry->first - now > kHeldUp) {
      waiting.push_back(delivery);
    }
  }
  size_t bytes = 0;
  for (const DeliveryPtr& delivery : waiting) {
    bytes += delivery->bytes.size();
  }
  MoveWaiting(waiting, now);
  rotate_wait_ = std::clamp(2 * rotate_wait_, kFirstRotation, kLongestRotation);
  rotate_at_ =
      now + std::max(rotate_wait_, milliseconds(static_cast<int64_t>(bytes) / kRotatedBytesPerMs));
}

void Lane::EndOverdue(MonotonicTime now) {
  if (scan_) return;
  const int64_t wall_us = window_deps_.ages.WallMicros(now);
  const bool stuck = target_->shared->circuit.open() || now < target_->shared->not_before();
  for (const Half half : {kParking, kMain}) {  // the oldest first
    const std::shared_ptr<PartitionWindow> window = halves_[half].window;
    if (window == nullptr || window->dropping || window->size() == 0) continue;
    const bool may_expire = !target_->holds() && now - window->born_after() >= options_.max_age;
    if (!may_expire && !gives_up()) continue;
    std::vector<DeliveryPtr> all;
    for (const auto& [offset, delivery] : window->deliveries()) all.push_back(delivery);
    for (const DeliveryPtr& delivery : all) {
      if (!host_.MayWriteMore()) return;
      // What is under way ends by itself; what waits behind another has its turn when that is gone.
      if (delivery->stage != Delivery::Stage::kQueued &&
          delivery->stage != Delivery::Stage::kWaiting) {
        continue;
      }
      if (may_expire && now - delivery->born >= options_.max_age &&
          (delivery->attempts > 0 || stuck)) {
        host_.GiveUp(delivery, "expired",
                     fmt::format("not delivered for {} s", options_.max_age.count()));
      } else if (const auto reason = target_->give_up.Match(delivery->first_appended_at_us(),
                                                            delivery->key, wall_us)) {
        host_.GiveUp(delivery, "given_up", *reason);
      } else if (target_->shared->bytes_to_give_up() > 0) {
        target_->shared->GaveUp(delivery->bytes.size() + delivery->meta.ByteSizeLong());
        host_.GiveUp(delivery, "given_up", "the destination's share of the log is used up");
      }
    }
    window->OldestBirth();
  }
}

}  // namespace millrace::router
