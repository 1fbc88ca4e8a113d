#include "libs/delivery/rate_limit.h"

#include <algorithm>
#include <chrono>

namespace millrace::delivery {
namespace {

constexpr double kBurstSeconds = 0.2;
// A wait may end a rounding of the clock too early.
constexpr double kWhole = 1 - 1e-6;

}  // namespace

void RateLimit::SetRate(double per_second) {
  MutexLock lock(mu_);
  if (per_second == per_second_) return;
  per_second_ = per_second;
  tokens_ = std::min(tokens_ < 1 ? 1.0 : tokens_, Capacity());
}

double RateLimit::Capacity() const {
  return std::max(1.0, per_second_ * kBurstSeconds);
}

double RateLimit::TokensAt(MonotonicTime now) const {
  if (last_ == MonotonicTime()) return Capacity();
  const std::chrono::duration<double> passed = now - last_;
  return std::min(Capacity(), tokens_ + std::max(0.0, passed.count()) * per_second_);
}

bool RateLimit::Take(MonotonicTime now) {
  MutexLock lock(mu_);
  if (per_second_ <= 0) return true;
  tokens_ = TokensAt(now);
  last_ = std::max(last_, now);
  if (tokens_ < kWhole) return false;
  tokens_ -= 1;
  return true;
}

MonotonicTime RateLimit::Next(MonotonicTime now) const {
  MutexLock lock(mu_);
  if (per_second_ <= 0) return now;
  const double tokens = TokensAt(now);
  if (tokens >= kWhole) return now;
  return now + std::chrono::ceil<MonotonicTime::duration>(
                   std::chrono::duration<double>((1 - tokens) / per_second_));
}

}  // namespace millrace::delivery
