#pragma once

#include <chrono>
#include <cstddef>
#include <functional>

#include "libs/destination/exchange.h"

namespace millrace::delivery {

/// Carries prepared requests to tools and brings the answers back.
///
/// Owned by whoever delivers. Thread-safety: one thread: Send and Run are the owner's; Wake is any
/// thread's. A fault of the network is an Answer, never an error.
class Transport {
 public:
  using Done = std::function<void(destination::Answer)>;

  virtual ~Transport() = default;
  /// `done` runs inside Run, exactly once unless the transport goes first.
  virtual void Send(destination::Prepared request, Done done) = 0;
  /// Works for up to `timeout` or until Wake; returns early when answers came.
  virtual void Run(std::chrono::milliseconds timeout) = 0;
  virtual void Wake() = 0;
  virtual size_t in_flight() const = 0;
};

}  // namespace millrace::delivery
