#pragma once

#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "libs/base/mutex.h"
#include "libs/delivery/transport.h"

namespace millrace::router {

using Task = absl::AnyInvocable<void()>;

/// What other threads want a worker to do. Shared, so that a mapping that ends after its worker has
/// gone finds it closed. Thread-safe.
class Inbox {
 public:
  explicit Inbox(delivery::Transport* transport) : transport_(transport) {}
  /// Drops `task` once the inbox is closed.
  void Post(Task task) {
    MutexLock lock(mu_);
    if (transport_ == nullptr) return;
    if (tasks_.empty()) transport_->Wake();
    tasks_.push_back(std::move(task));
  }
  std::vector<Task> Take() {
    MutexLock lock(mu_);
    return std::exchange(tasks_, {});
  }
  void Close() {
    std::vector<Task> dropped;
    MutexLock lock(mu_);
    transport_ = nullptr;
    dropped.swap(tasks_);
  }

 private:
  Mutex mu_;
  delivery::Transport* transport_ ABSL_GUARDED_BY(mu_);
  std::vector<Task> tasks_ ABSL_GUARDED_BY(mu_);
};

}  // namespace millrace::router
