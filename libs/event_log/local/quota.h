#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "libs/base/status.h"
#include "libs/event_log/local/state.h"

namespace millrace::event_log::local {

/// How far into its quota and its disk a log may go, by what it is for, and whether it has come
/// that far.
///
/// Owned by the log. Changed by the writer thread alone, with the log's mutex held.
class Quota {
 public:
  struct Options {
    uint64_t bytes = 0;
    uint64_t segment_bytes = 0;
    uint64_t reserve_bytes = 0;  // of the disk, for others
  };
  explicit Quota(const Options& options) : options_(options) {}

  /// What the log has of the disk and what is free there.
  void SetDisk(uint64_t bytes) { disk_ = bytes; }
  /// A part of the quota is not for new events, and a part of the disk not for the log.
  uint64_t LimitOf(Room room) const;
  /// What may be used at most.
  uint64_t bytes() const { return std::min(options_.bytes, disk_); }

  /// Refused until something is freed.
  bool Full(Room room) const { return room != Room::kAny && full_[static_cast<size_t>(room)]; }
  bool Pressed() const { return full_[0]; }  // the others are full only if this one is
  void MarkFull(Room room);
  /// Writes that may go far take the disk past the limit of those that may not: these are refused
  /// from now on.
  void NoteUse(uint64_t in_use);
  /// The reverse, once there is room for so much more. `quietly`: without a word in the log.
  void NoteRoom(uint64_t in_use, uint64_t more, bool quietly);
  Status Refusal() const;

 private:
  const Options options_;
  uint64_t disk_ = INT64_MAX;
  std::array<bool, kLimitedRooms> full_{};  // by Room
};

}  // namespace millrace::event_log::local
