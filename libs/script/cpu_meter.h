#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>

namespace millrace::script {

/// Measures the CPU time of one stretch of code of this thread. Asking the thread's clock is a
/// system call, so a short stretch is measured by the wall clock, and the thread's clock is asked
/// only once the engine's interrupt handler wants to know. One thread.
class CpuMeter {
 public:
  void Start() {
    wall_us_ = Read(CLOCK_MONOTONIC);
    cpu_us_ = -1;
  }
  /// Cheap; from above where the thread had to wait for a processor.
  int64_t Used() const {
    return cpu_us_ < 0 ? Read(CLOCK_MONOTONIC) - wall_us_
                       : before_us_ + Read(CLOCK_THREAD_CPUTIME_ID) - cpu_us_;
  }
  /// Exact from the first time it is asked.
  int64_t UsedExactly() {
    if (cpu_us_ < 0) {
      before_us_ = std::min(Used(), kMostBeforeUs);
      cpu_us_ = Read(CLOCK_THREAD_CPUTIME_ID);
    }
    return Used();
  }

 private:
  // The handler runs every few thousand operations; what took longer was spent waiting.
  static constexpr int64_t kMostBeforeUs = 5'000;

  static int64_t Read(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
  }
  int64_t wall_us_ = 0;
  int64_t cpu_us_ = -1;
  int64_t before_us_ = 0;
};

}  // namespace millrace::script
