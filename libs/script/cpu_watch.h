#pragma once

#include <cstdint>

#include "libs/base/status.h"

namespace millrace::script {

/// How a worker ends that ran longer than its call may, within native code that nothing interrupts.
inline constexpr int kCpuExitCode = 77;

/// Stops this process when the code it runs takes longer than it may. The engine stops scripts
/// itself; this is for its native loops, which do not ask whether they should go on. A timer of the
/// thread's CPU time looks every few milliseconds. One for each process; only its main thread runs
/// scripts.
class CpuWatch {
 public:
  /// Before the sandbox, which has no timers.
  static Status Start();
  /// From now on code runs that may take `left_us`, and a little more; 0: none does.
  static void Arm(int64_t left_us);
};

}  // namespace millrace::script
