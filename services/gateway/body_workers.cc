#include "services/gateway/body_workers.h"

#include <malloc.h>

#include <algorithm>
#include <utility>

namespace millrace::gateway {
namespace {

// Memory is given back when the threads have had nothing to do for so long.
constexpr std::chrono::milliseconds kQuiet{100};

}  // namespace

BodyWorkers::BodyWorkers(int threads, size_t max_waiting) : max_waiting_(max_waiting) {
  for (int i = 0; i < std::max(1, threads); ++i) threads_.emplace_back([this] { Run(); });
}

BodyWorkers::~BodyWorkers() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
}

bool BodyWorkers::Post(std::function<void()> work) {
  MutexLock lock(mu_);
  if (waiting_.size() >= max_waiting_) return false;
  waiting_.push_back(std::move(work));
  changed_.notify_one();
  return true;
}

void BodyWorkers::Run() {
  MutexLock lock(mu_);
  const auto wanted = [this]()
                          ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopping_ || !waiting_.empty(); };
  while (true) {
    if (!used_) {
      changed_.wait(lock.native(), wanted);
    } else if (!changed_.wait_for(lock.native(), kQuiet, wanted)) {
      if (running_ > 0 || !std::exchange(used_, false)) continue;
      // Large blocks come from the heap once such have been freed, and stay there by themselves.
      lock.native().unlock();
      malloc_trim(0);
      lock.native().lock();
      continue;
    }
    if (stopping_) return;
    const std::function<void()> work = std::move(waiting_.front());
    waiting_.pop_front();
    ++running_;
    used_ = true;
    lock.native().unlock();
    work();
    lock.native().lock();
    --running_;
  }
}

}  // namespace millrace::gateway
