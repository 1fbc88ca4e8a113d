#include "services/control-plane/task_thread.h"

#include <pthread.h>

#include <utility>

namespace millrace::control_plane {

bool TaskThread::Post(Task task) {
  {
    MutexLock lock(mu_);
    if (stopped_ || tasks_.size() >= limit_) return false;
    tasks_.push_back(std::move(task));
    if (!thread_.joinable()) {
      thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
    }
  }
  wake_.notify_one();
  return true;
}

void TaskThread::Stop() {
  {
    MutexLock lock(mu_);
    stopped_ = true;
  }
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void TaskThread::Run(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), name_.c_str());
  while (true) {
    std::unique_lock lock(mu_);
    wake_.wait(lock, stop, [this] { return !tasks_.empty(); });
    if (tasks_.empty()) return;  // stopped
    const Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task(stop);
  }
}

}  // namespace millrace::control_plane
