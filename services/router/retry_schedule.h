#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/base/clock.h"

namespace millrace::router {

/// Items that wait for a time of theirs. One thread.
template <typename Item>
class RetrySchedule {
 public:
  void Add(MonotonicTime at, Item item) {
    heap_.push_back({at, sequence_++, std::move(item)});
    std::push_heap(heap_.begin(), heap_.end(), Later);
  }
  /// The next item that is due at `now`; false when there is none.
  bool Take(MonotonicTime now, Item* item) {
    if (heap_.empty() || heap_.front().at > now) return false;
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    *item = std::move(heap_.back().item);
    heap_.pop_back();
    return true;
  }
  bool empty() const { return heap_.empty(); }
  size_t size() const { return heap_.size(); }
  /// When the first is due; not when empty.
  MonotonicTime next() const { return heap_.front().at; }

 private:
  struct Entry {
    MonotonicTime at;
    uint64_t sequence = 0;
    Item item;
  };
  static bool Later(const Entry& a, const Entry& b) {
    return a.at != b.at ? a.at > b.at : a.sequence > b.sequence;
  }

  std::vector<Entry> heap_;
  uint64_t sequence_ = 0;
};

/// Lets `per_second` pass in each second, at most one second's worth at once. 0 = no limit. One
/// thread.
class TokenBucket {
 public:
  explicit TokenBucket(double per_second = 0) : per_second_(per_second), tokens_(Capacity()) {}
  bool Take(MonotonicTime now) {
    if (per_second_ <= 0) return true;
    Refill(now);
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }
  /// When the next Take may succeed.
  MonotonicTime Next(MonotonicTime now) const {
    if (per_second_ <= 0 || tokens_ >= 1) return now;
    return now + std::chrono::duration_cast<MonotonicTime::duration>(
                     std::chrono::duration<double>((1 - tokens_) / per_second_));
  }

 private:
  double Capacity() const { return std::max(1.0, per_second_); }
  void Refill(MonotonicTime now) {
    if (last_ != MonotonicTime()) {
      const std::chrono::duration<double> passed = now - last_;
      tokens_ = std::min(Capacity(), tokens_ + passed.count() * per_second_);
    }
    last_ = now;
  }

  double per_second_ = 0;
  double tokens_ = 0;
  MonotonicTime last_{};
};

/// The wait that a Retry-After header asks for: seconds, or an HTTP date in the time of `now_us`.
/// Negative when it is neither.
std::chrono::milliseconds ParseRetryAfter(std::string_view value, int64_t now_us);

}  // namespace millrace::router
