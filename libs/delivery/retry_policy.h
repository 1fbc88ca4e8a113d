#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "libs/base/backoff.h"
#include "libs/base/clock.h"

namespace millrace::delivery {

struct RetryOptions {
  BackoffPolicy backoff;
  std::chrono::milliseconds max_retry_after{std::chrono::hours(1)};
  std::chrono::seconds max_age{259'200};
};

/// An attempt that failed and may be tried again.
struct FailedAttempt {
  uint32_t attempts = 1;                        // of this event, this one too
  int status = 0;                               // 0: no answer came
  std::optional<std::string_view> retry_after;  // the header's value
  MonotonicTime born{};                         // AgeClock::BornAt
  MonotonicTime now{};
  int64_t wall_us = 0;  // for a date in retry_after
  uint64_t random = 0;
};

struct RetryDecision {
  bool expired = false;        // older than max_age: no further try
  MonotonicTime retry_at{};    // of this event; never later than when it expires
  MonotonicTime hold_until{};  // no request to the destination before; zero: no hold
};

/// When an event is tried again: by our own back-off with jitter, or later where the destination
/// asks for it (Retry-After), but never later than max_retry_after. A 429 with Retry-After is said
/// to the sender, so it holds the whole destination.
RetryDecision DecideRetry(const RetryOptions& options, const FailedAttempt& failed);

/// When an event born at `born` is too old, whatever is known of the destination then.
inline MonotonicTime ExpiresAt(const RetryOptions& options, MonotonicTime born) {
  return born + options.max_age;
}

/// The wait that a Retry-After header asks for: seconds, or an HTTP date in the time of `now_us`.
/// Negative when it is neither.
std::chrono::milliseconds ParseRetryAfter(std::string_view value, int64_t now_us);

}  // namespace millrace::delivery
