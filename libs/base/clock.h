#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

using Micros = std::chrono::microseconds;
using MonotonicTime = std::chrono::steady_clock::time_point;

/// The two clocks. Retry, dedup and deadline timers use Monotonic(), which never steps; Now() is
/// for stamps that people and other systems read.
///
/// Thread-safety: all methods may be called from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Microseconds since the Unix epoch.
  virtual int64_t NowMicros() const = 0;
  virtual MonotonicTime Monotonic() const = 0;
};

/// The machine's clocks; lives for the whole process.
Clock& SystemClock();

/// A clock that stands still until moved. For tests.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(int64_t now_us = 1'767'225'600'000'000) : now_us_(now_us) {}
  int64_t NowMicros() const override { return now_us_; }
  MonotonicTime Monotonic() const override { return MonotonicTime(monotonic_); }
  void Advance(Micros by) {
    now_us_ += by.count();
    monotonic_ += by;
  }

 private:
  int64_t now_us_;
  std::chrono::steady_clock::duration monotonic_{std::chrono::hours(1)};
};

/// "2026-01-02T03:04:05.678Z", as JavaScript's toISOString.
std::string FormatRfc3339Millis(int64_t unix_us);

/// Parses RFC 3339 and the ISO 8601 forms SDKs send: date only, no zone (taken as UTC), "+0000",
/// fractions of any length (cut to microseconds). False when `text` is none of them.
bool ParseTimestamp(std::string_view text, int64_t* unix_us);

}  // namespace millrace
