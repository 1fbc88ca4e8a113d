#pragma once

#include <atomic>
#include <thread>

namespace millrace::service {

/// While it lives, and until End, SIGTERM or SIGINT ends the process at once with exit code 0. A
/// process that starts may wait for long, for the log or for its configuration, and has nothing to
/// drain yet. BlockSignals comes before it.
class StartGuard {
 public:
  StartGuard();
  ~StartGuard() { End(); }
  StartGuard(const StartGuard&) = delete;
  StartGuard& operator=(const StartGuard&) = delete;
  /// From now on signals wait for WaitForSignal.
  void End();

 private:
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

}  // namespace millrace::service
