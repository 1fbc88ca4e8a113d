#pragma once

#include <cstddef>
#include <memory>

#include "libs/base/mutex.h"

namespace millrace::delivery {

/// One number of bytes that several takers share fairly. Each may always hold a minimum; beyond
/// that, one that holds more than its fair share takes no more while another wants some.
///
/// Owned by the process's router; outlives its takers. Thread-safety: all methods, also of takers,
/// may be called from any thread.
class MemoryBudget {
 public:
  class Taker;

  /// `minimum` of each taker, as far as all of them fit.
  MemoryBudget(size_t bytes, size_t minimum) : bytes_(bytes), minimum_(minimum) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  std::unique_ptr<Taker> AddTaker();

  size_t bytes() const { return bytes_; }
  size_t used() const;

 private:
  size_t Minimum() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool MayTake(const Taker& taker) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const size_t bytes_;
  const size_t minimum_;
  mutable Mutex mu_;
  size_t used_ ABSL_GUARDED_BY(mu_) = 0;
  size_t takers_ ABSL_GUARDED_BY(mu_) = 0;
  size_t active_ ABSL_GUARDED_BY(mu_) = 0;  // those that hold some or want some
  size_t wanting_ ABSL_GUARDED_BY(mu_) =
      0;  // those that were told to wait and have not taken since
};

/// What one of those that share holds. Gives all back when it is destroyed.
class MemoryBudget::Taker {
 public:
  ~Taker();
  Taker(const Taker&) = delete;
  Taker& operator=(const Taker&) = delete;

  /// Counts `bytes` that are already in memory, whatever is left. Returns MayTake().
  bool Charge(size_t bytes);
  /// Whether more may be taken in now. False notes that this taker waits; ask again when some time
  /// went by, or call Sated when there is nothing more to take.
  bool MayTake();
  void Sated();
  void Give(size_t bytes);
  size_t held() const;

 private:
  friend class MemoryBudget;
  explicit Taker(MemoryBudget& budget) : budget_(budget) {}
  void Update(size_t held, bool wanting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(budget_.mu_);
  bool Ask() ABSL_EXCLUSIVE_LOCKS_REQUIRED(budget_.mu_);

  MemoryBudget& budget_;
  size_t held_ = 0;       // guarded by budget_.mu_
  bool wanting_ = false;  // guarded by budget_.mu_
};

}  // namespace millrace::delivery
