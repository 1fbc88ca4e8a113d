#pragma once

#include "libs/base/clock.h"
#include "libs/base/mutex.h"

namespace millrace::delivery {

/// Lets so many requests pass in each second, whoever of the process sends them; a fifth of a
/// second's worth at once, one at least. Without a rate it lets all pass.
///
/// One for each destination of a process. Thread-safety: all methods may be called from any thread.
class RateLimit {
 public:
  explicit RateLimit(double per_second = 0) { SetRate(per_second); }
  RateLimit(const RateLimit&) = delete;
  RateLimit& operator=(const RateLimit&) = delete;

  /// 0 or less = no limit. The same rate again changes nothing.
  void SetRate(double per_second);
  /// True when one request may go now; it is then counted.
  bool Take(MonotonicTime now);
  /// When the next Take may succeed, if no other takes before.
  MonotonicTime Next(MonotonicTime now) const;

 private:
  double Capacity() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  double TokensAt(MonotonicTime now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  double per_second_ ABSL_GUARDED_BY(mu_) = 0;
  double tokens_ ABSL_GUARDED_BY(mu_) = 0;
  MonotonicTime last_ ABSL_GUARDED_BY(mu_){};
};

}  // namespace millrace::delivery
