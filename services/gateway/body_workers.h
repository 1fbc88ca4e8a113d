#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "libs/base/mutex.h"

namespace millrace::gateway {

/// Bodies up to here, packed and unpacked, are worked at once by the thread that has read them: a
/// few milliseconds at the very most.
inline constexpr size_t kInlineBodyBytes = 128 << 10;

/// Threads that unpack, check and take apart large request bodies, so that none holds up an I/O
/// thread. They give the memory back once nothing waits. Owned by the gateway; any thread may call
/// Post.
class BodyWorkers {
 public:
  /// At most `max_waiting` pieces of work wait.
  BodyWorkers(int threads, size_t max_waiting);
  /// Lets running work end; what waits is dropped.
  ~BodyWorkers();
  BodyWorkers(const BodyWorkers&) = delete;
  BodyWorkers& operator=(const BodyWorkers&) = delete;

  /// Runs `work` on one of the threads, in the order of the calls. False when too much waits.
  bool Post(std::function<void()> work);

 private:
  void Run();

  const size_t max_waiting_;
  Mutex mu_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mu_);
  size_t running_ ABSL_GUARDED_BY(mu_) = 0;
  bool used_ ABSL_GUARDED_BY(mu_) = false;  // since memory was given back
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace millrace::gateway
