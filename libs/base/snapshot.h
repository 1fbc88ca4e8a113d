#pragma once

#include <memory>
#include <utility>

#include "libs/base/mutex.h"

namespace millrace {

/// An immutable value that readers copy cheaply and one writer replaces whole (configuration,
/// catalogue). Thread-safe.
template <typename T>
class Snapshot {
 public:
  Snapshot() : value_(std::make_shared<const T>()) {}
  explicit Snapshot(std::shared_ptr<const T> value) : value_(std::move(value)) {}
  std::shared_ptr<const T> Get() const {
    MutexLock lock(mu_);
    return value_;
  }
  void Set(std::shared_ptr<const T> value) {
    MutexLock lock(mu_);
    value_.swap(value);
  }

 private:
  mutable Mutex mu_;
  std::shared_ptr<const T> value_ ABSL_GUARDED_BY(mu_);
};

}  // namespace millrace
