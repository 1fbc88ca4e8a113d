#include "libs/delivery/age_clock.h"

#include <algorithm>

namespace millrace::delivery {
namespace {

// No stamp may carry a time outside what the monotonic clock can hold.
constexpr int64_t kOldestUs = 50LL * 365 * 86'400 * 1'000'000;

}  // namespace

int64_t AgeClock::WallMicros(MonotonicTime now) const {
  return wall_us_ + std::chrono::duration_cast<Micros>(now - monotonic_).count();
}

MonotonicTime AgeClock::BornAt(int64_t appended_at_us, MonotonicTime now) const {
  if (appended_at_us <= 0) return now;
  return now - Micros(std::clamp<int64_t>(WallMicros(now) - appended_at_us, 0, kOldestUs));
}

}  // namespace millrace::delivery
