#include "services/router/lane.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "libs/base/log.h"

namespace millrace::router {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kParkedMark = ";parked=";  // OffsetTracker reads no further than ';'
// A scan that gets no record for so long has nothing more to get.
constexpr milliseconds kScanPatience{30'000};

}  // namespace

size_t ParkedByNote(std::string_view metadata) {
  const size_t at = metadata.find(kParkedMark);
  size_t count = 0;
  if (at == std::string_view::npos) return count;
  const std::string_view text = metadata.substr(at + kParkedMark.size());
  std::from_chars(text.data(), text.data() + text.size(), count);
  return count;
}

Lane::Lane(std::shared_ptr<Target> target, LaneOptions options, WindowDeps window_deps,
           LaneHost& host)
    : target_(std::move(target)), options_(options), window_deps_(window_deps), host_(host) {}

// --- Which partitions are ours, and when they are worked on.

void Lane::OnAssigned(const event_log::CommittedOffset& from, Half half, MonotonicTime now) {
  halves_[half] = {.from = from};
  Activate(now);
}

void Lane::Activate(MonotonicTime now) {
  HalfState& main = halves_[kMain];
  HalfState& parking = halves_[kParking];
  if (!main.from) {
    if (parking.from) Hold(kParking);
    return;
  }
  if (main.window != nullptr) {
    if (parking.from && parking.window == nullptr) Open(kParking);
    return;
  }
  const size_t expected = ParkedByNote(main.from->metadata);
  if (expected > 0 && !parking.from) return Hold(kMain);
  if (parking.from) Open(kParking);
  if (expected == 0) return Open(kMain);
  Hold(kMain);
  scan_ = Scan{.expected = expected, .progress_at = now};
}

void Lane::Open(Half half) {
  HalfState& state = halves_[half];
  state.window = std::make_shared<PartitionWindow>(*state.from, target_, options_.window,
                                                   window_deps_, half == kParking);
  state.window->lane = this;
  if (std::exchange(state.skipped, false)) {
    state.seeking = true;
    host_.Seek(state.from->partition, std::max<int64_t>(state.from->offset, 0));
  }
  SetPaused(state, false);
}

void Lane::Hold(Half half) {
  SetPaused(halves_[half], true);
}

void Lane::SetPaused(HalfState& half, bool paused) {
  if (std::exchange(half.paused, paused) != paused) {
    host_.SetPaused(half.from->partition, paused);
  }
}

void Lane::OnSought(Half half) {
  halves_[half].seeking = false;
}

std::vector<std::shared_ptr<PartitionWindow>> Lane::BeginDrop(Half half) {
  halves_[half].dropping = true;
  // Without the parking topic nobody knows whose turn it is, and it is nothing without the other.
  const bool both = half == kMain || parked_.events() > 0 || scan_;
  std::vector<std::shared_ptr<PartitionWindow>> windows;
  for (const Half each : {kMain, kParking}) {
    const auto& window = halves_[each].window;
    if (window == nullptr || window->dropping || !(both || each == half)) continue;
    window->dropping = true;
    windows.push_back(window);
  }
  return windows;
}

void Lane::EndDrop(MonotonicTime now) {
  for (HalfState& half : halves_) {
    const bool is_ours = half.from && !half.dropping;
    if (half.window != nullptr && half.window->dropping) {
      half.window->gone = true;
      half.window->Clear();
      if (is_ours) {
        half.from->offset = half.window->tracker().committed();
        half.from->metadata = half.window->tracker().Metadata();
        half.skipped = true;
      }
      half.window = nullptr;
    }
    if (!is_ours) half = {};
  }
  if (halves_[kMain].window != nullptr) return;  // went on without the parking topic
  if (halves_[kMain].from && parked_.events() > 0) {
    halves_[kMain].from->metadata += fmt::format("{}{}", kParkedMark, parked_.events());
  }
  parked_.Clear();
  held_.clear();
  scan_.reset();
  for (auto& marked : marked_) marked.clear();
  Activate(now);
}

void Lane::AddOffsets(std::vector<event_log::CommittedOffset>* offsets) {
  PartitionWindow* const main = halves_[kMain].window.get();
  PartitionWindow* const parking = halves_[kParking].window.get();
  const bool parked_changed = parking != nullptr && parking->tracker().changed();
  if (main != nullptr && (main->tracker().changed() || parked_changed) &&
      main->tracker().committed() >= 0) {
    std::string note = main->tracker().Metadata();
    if (parked_.events() > 0) note += fmt::format("{}{}", kParkedMark, parked_.events());
    offsets->push_back({main->name(), main->tracker().committed(), std::move(note)});
    main->tracker().MarkCommitted();
  }
  if (parked_changed) {
    offsets->push_back(
        {parking->name(), parking->tracker().committed(), parking->tracker().Metadata()});
    parking->tracker().MarkCommitted();
  }
}

// --- Records.

void Lane::OnRecord(Half half, const event_log::ConsumedRecord& record, MonotonicTime now) {
  HalfState& state = halves_[half];
  if (state.window == nullptr) {
    state.skipped = true;
    return;
  }
  if (state.seeking || state.window->dropping) return;
  if (half == kMain) {
    OnMainRecord(record, now);
  } else if (scan_) {
    OnScanned(record, now);
  } else {
    OnParkedRecord(record, now);
  }
}

void Lane::OnMainRecord(const event_log::ConsumedRecord& record, MonotonicTime now) {
  PartitionWindow& window = *halves_[kMain].window;
  const DeliveryPtr delivery = window.TakeIn(record, now);
  if (delivery == nullptr) return host_.NoteChange();
  const uint64_t user = ParkedUsers::HashOf(delivery->key);
  if (delivery->ordered && parked_.Contains(user)) {
    if (parked_.Moves(user)) {
      held_[user].push_back(delivery);
    } else {
      AppendAndRemove(delivery);
    }
  } else if (window.MayGo(delivery)) {
    host_.StartAt(delivery, now);
  }
}

void Lane::OnParkedRecord(const event_log::ConsumedRecord& record, MonotonicTime now) {
  PartitionWindow& window = *halves_[kParking].window;
  const DeliveryPtr delivery = window.TakeIn(record, now);
  if (delivery == nullptr) return host_.NoteChange();
  const uint64_t user = ParkedUsers::HashOf(delivery->key);
  if (parked_.OnRead(user)) {
    AppendAndRemove(delivery);
    parked_.OnGone(user);
    if (!parked_.Moves(user)) ReleaseHeld(user);
  } else if (window.MayGo(delivery)) {
    host_.StartAt(delivery, DueOf(*delivery, now));
  }
}

void Lane::OnScanned(const event_log::ConsumedRecord& record, MonotonicTime now) {
  PartitionWindow& window = *halves_[kParking].window;
  Scan& scan = *scan_;
  scan.progress_at = now;
  if (window.tracker().WasFinished(record.offset)) {
    if (!scan.skipped_from) window.TakeIn(record, now);
    return;
  }
  if (!scan.skipped_from && window.Full(1, 1)) scan.skipped_from = record.offset;
  NoteOrder(record);
  const bool read = !scan.skipped_from;
  parked_.OnAppended(ParkedUsers::HashOf(record.key), read);
  if (read) {
    const DeliveryPtr delivery = window.TakeIn(record, now);
    if (window.MayGo(delivery)) scan.first_of_user.push_back(delivery);
  }
  if (++scan.seen == scan.expected) EndScan(now);
}

void Lane::EndScan(MonotonicTime now) {
  const Scan scan = std::move(*scan_);
  scan_.reset();
  if (scan.skipped_from) {
    HalfState& parking = halves_[kParking];
    parking.seeking = true;
    host_.Seek(parking.from->partition, *scan.skipped_from);
  }
  for (const auto& [user, seen] : scan.users) {
    if (seen.to_pass > 0) parked_.Move(user, seen.to_pass);
  }
  for (const DeliveryPtr& each : scan.first_of_user) {
    const DeliveryPtr delivery = PassFirst(each);
    if (delivery != nullptr) host_.StartAt(delivery, DueOf(*delivery, now));
  }
  Open(kMain);
}

// A user that was moving when the partition was given up: an event of it that is older than those
// before it in the topic was appended again, and they were still to follow.
void Lane::NoteOrder(const event_log::ConsumedRecord& record) {
  delivery::v1::DeliveryMeta meta;
  if (!meta.ParseFromArray(record.meta.data(), static_cast<int>(record.meta.size()))) return;
  Scan::User& user = scan_->users[ParkedUsers::HashOf(record.key)];
  const int64_t position = meta.destination_position();
  if (position < user.last_position) user.to_pass = user.events;
  user.last_position = position;
  ++user.events;
}

// Lets what is in memory of a moving user follow; gives the first that stays.
DeliveryPtr Lane::PassFirst(const DeliveryPtr& first) {
  const uint64_t user = ParkedUsers::HashOf(first->key);
  if (!first->ordered || !parked_.Moves(user)) return first;
  PartitionWindow& window = *first->window;
  DeliveryPtr stays;
  for (const DeliveryPtr& delivery : window.TakeUser(first)) {
    if (parked_.Moves(user)) {
      AppendAndRemove(delivery);
      parked_.OnGone(user);
      parked_.OnPassed(user);
    } else if (window.MayGo(delivery)) {
      stays = delivery;
    }
  }
  return stays;
}

MonotonicTime Lane::DueOf(const Delivery& delivery, MonotonicTime now) const {
  if (delivery.meta.retry_at_us() == 0 || delivery.appended_at_us < target_->try_all_since_us) {
    return now;
  }
  const Micros wait(delivery.meta.retry_at_us() - window_deps_.ages.WallMicros(now));
  return now + std::clamp<Micros>(wait, Micros(0), options_.longest_wait);
}

void Lane::PauseOrResume() {
  for (const Half each : {kMain, kParking}) {
    HalfState& half = halves_[each];
    if (half.window == nullptr || half.window->dropping) continue;
    const bool scans = each == kParking && scan_;
    const bool full = half.paused ? half.window->Full(3, 4) : half.window->Full(1, 1);
    SetPaused(half, full && !scans);
  }
}

// --- The way through.

void Lane::OnEnd(const DeliveryPtr& delivery, MonotonicTime now) {
  PartitionWindow& window = *delivery->window;
  const DeliveryPtr next = window.Finish(delivery);
  const uint64_t user = ParkedUsers::HashOf(delivery->key);
  if (delivery->parked) parked_.OnGone(user);
  auto& marked = marked_[delivery->parked ? kParking : kMain];
  if (next == nullptr) {
    marked.erase(user);
  } else if (marked.contains(user) && parks()) {
    MoveUser(next);
  } else {
    host_.StartAt(next, now);
  }
}

}  // namespace millrace::router
