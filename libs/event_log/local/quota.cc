#include "libs/event_log/local/quota.h"

#include <algorithm>

#include "libs/base/log.h"

namespace millrace::event_log::local {
namespace {

// What is kept of the quota for each further Room is a part of it, between so many segments.
constexpr uint64_t kOnwardOfQuota = 16;
constexpr uint64_t kClosingOfQuota = 32;
constexpr uint64_t kLeastSegments = 2;
constexpr uint64_t kMostSegments = 8;

uint64_t Less(uint64_t bytes, uint64_t kept) {
  return bytes - std::min(bytes, kept);
}

}  // namespace

uint64_t Quota::LimitOf(Room room) const {
  const auto part = [this](uint64_t of_quota) {
    return std::clamp(options_.bytes / of_quota, kLeastSegments * options_.segment_bytes,
                      kMostSegments * options_.segment_bytes);
  };
  const uint64_t reserve = options_.reserve_bytes;
  const uint64_t closing = part(kClosingOfQuota);
  switch (room) {
    case Room::kNew:
      return std::min(Less(options_.bytes, closing + part(kOnwardOfQuota)), Less(disk_, reserve));
    case Room::kOnward:
      return std::min(Less(options_.bytes, closing), Less(disk_, reserve / 2));
    case Room::kClosing:
      return std::min(options_.bytes, Less(disk_, reserve / 4));
    case Room::kAny:
      break;
  }
  return bytes();
}

Status Quota::Refusal() const {
  const uint64_t left = options_.reserve_bytes;
  if (disk_ < options_.bytes + left) {
    return Error(StatusCode::kResourceExhausted,
                 "the disk has room for {} bytes of the log; {} are left free for others",
                 Less(disk_, left), left);
  }
  return Error(StatusCode::kResourceExhausted, "the log holds its quota of {} bytes",
               options_.bytes);
}

void Quota::MarkFull(Room room) {
  for (size_t i = 0; i < full_.size() && i <= static_cast<size_t>(room); ++i) full_[i] = true;
}

void Quota::NoteUse(uint64_t in_use) {
  for (size_t room = 0; room < full_.size(); ++room) {
    if (full_[room] || in_use <= LimitOf(static_cast<Room>(room))) continue;
    full_[room] = true;
    log::Warning("local log: {} of {} bytes are in use: {}", in_use, bytes(),
                 room == 0 ? "no new events are taken" : "events wait where they are");
  }
}

void Quota::NoteRoom(uint64_t in_use, uint64_t more, bool quietly) {
  for (size_t room = 0; room < full_.size(); ++room) {
    if (!full_[room] || in_use + more > LimitOf(static_cast<Room>(room))) continue;
    full_[room] = false;
    if (room == 0 && !quietly) log::Warning("local log: new events are taken again");
  }
}

}  // namespace millrace::event_log::local
