#pragma once

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/delivery/circuit.h"
#include "libs/delivery/rate_limit.h"

namespace millrace::router {

/// What the workers of a process share about one destination. Thread-safe.
struct SharedDestination {
  delivery::Circuit circuit;
  delivery::RateLimit rate;
  std::atomic<size_t> in_flight{0};

  /// No request goes before; the later of two counts. Clear forgets it.
  void HoldUntil(MonotonicTime at) {
    MutexLock lock(mu_);
    if (at > not_before_) not_before_ = at;
  }
  void ClearHold() {
    MutexLock lock(mu_);
    not_before_ = {};
  }
  MonotonicTime not_before() const {
    MutexLock lock(mu_);
    return not_before_;
  }

  /// Takes note of what the look at the shares with this number asks to give up. After one that
  /// did, some pass unheard: what was given up is seen only when the log has freed it.
  void SetToGiveUp(uint64_t look, uint64_t bytes) {
    constexpr uint64_t kUnheard = 3;
    MutexLock lock(mu_);
    if (look < next_look_) return;
    next_look_ = bytes == 0 ? look + 1 : look + 1 + kUnheard;
    bytes_to_give_up_ = bytes;
  }
  uint64_t bytes_to_give_up() const {
    MutexLock lock(mu_);
    return bytes_to_give_up_;
  }
  void GaveUp(uint64_t bytes) {
    MutexLock lock(mu_);
    bytes_to_give_up_ -= std::min(bytes_to_give_up_, bytes);
  }

 private:
  mutable Mutex mu_;
  uint64_t next_look_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t bytes_to_give_up_ ABSL_GUARDED_BY(mu_) = 0;
  MonotonicTime not_before_ ABSL_GUARDED_BY(mu_){};
};

/// The destinations of a process, by id. Thread-safe.
class SharedDestinations {
 public:
  std::shared_ptr<SharedDestination> Of(const std::string& id) {
    MutexLock lock(mu_);
    std::erase_if(known_,
                  [&](const auto& entry) { return entry.first != id && entry.second.expired(); });
    std::shared_ptr<SharedDestination> shared = known_[id].lock();
    if (shared == nullptr) {
      shared = std::make_shared<SharedDestination>();
      known_[id] = shared;
    }
    return shared;
  }

 private:
  Mutex mu_;
  std::map<std::string, std::weak_ptr<SharedDestination>> known_ ABSL_GUARDED_BY(mu_);
};

}  // namespace millrace::router
