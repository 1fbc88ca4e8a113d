#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace millrace::processor {

/// How many events the next batch may have: fewer after one that took long, as transformations may,
/// so that a batch ends well before the log takes its partitions for abandoned. One thread.
class BatchPace {
 public:
  explicit BatchPace(size_t most) : most_(std::max<size_t>(1, most)), limit_(most_) {}

  size_t limit() const { return limit_; }
  void Took(size_t events, std::chrono::duration<double> time) {
    if (time > kLong) {
      limit_ = Clamp(static_cast<size_t>(static_cast<double>(events) * (kLong / time)));
    } else if (time < kLong / 2) {
      limit_ = Clamp(limit_ * 2);
    }
  }
  /// The batch was too much for the memory, the log, or the time.
  void TooMuch(size_t events) { limit_ = Clamp(events / 16); }

 private:
  static constexpr std::chrono::duration<double> kLong{10};
  size_t Clamp(size_t limit) const { return std::clamp<size_t>(limit, 1, most_); }

  const size_t most_;
  size_t limit_;
};

}  // namespace millrace::processor
