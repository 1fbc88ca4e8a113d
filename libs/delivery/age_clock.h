#pragma once

#include <chrono>
#include <cstdint>

#include "libs/base/clock.h"

namespace millrace::delivery {

/// By which clock events age: the wall clock says how old an event was when this process began, and
/// from then on only the monotonic clock counts. So a wall clock that jumps ahead by days expires
/// nothing.
///
/// A value; reading is thread-safe.
class AgeClock {
 public:
  /// The two clocks as they stand now, when the process begins.
  AgeClock(int64_t wall_us, MonotonicTime monotonic) : wall_us_(wall_us), monotonic_(monotonic) {}
  explicit AgeClock(const Clock& clock) : AgeClock(clock.NowMicros(), clock.Monotonic()) {}

  /// The wall clock's time as it would be had nobody set it since the process began, Unix
  /// microseconds.
  int64_t WallMicros(MonotonicTime now) const;

  /// When an event that came into the log at `appended_at_us` began to age. Ask once, when the
  /// event is read; its age is then `now` minus this. A stamp of the future, or none (0), means
  /// now.
  MonotonicTime BornAt(int64_t appended_at_us, MonotonicTime now) const;

 private:
  int64_t wall_us_;
  MonotonicTime monotonic_;
};

}  // namespace millrace::delivery
