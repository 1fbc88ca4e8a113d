#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <string>
#include <thread>

#include "libs/base/mutex.h"

namespace millrace::control_plane {

/// Runs tasks one after another on a thread of its own, which is made with the first one. Any
/// thread may post.
class TaskThread {
 public:
  using Task = std::function<void(const std::stop_token&)>;

  /// `name` is the thread's; at most `limit` tasks wait.
  TaskThread(std::string name, size_t limit) : name_(std::move(name)), limit_(limit) {}
  ~TaskThread() { Stop(); }
  TaskThread(const TaskThread&) = delete;
  TaskThread& operator=(const TaskThread&) = delete;

  /// False when too many wait, or after Stop.
  bool Post(Task task);
  /// Asks the running task to stop, lets those that wait run with the request to stop, and ends.
  void Stop();

 private:
  void Run(const std::stop_token& stop);

  const std::string name_;
  const size_t limit_;
  Mutex mu_;
  std::condition_variable_any wake_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread thread_;
};

}  // namespace millrace::control_plane
