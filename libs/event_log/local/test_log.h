#pragma once

#include <catch2/catch.hpp>

#include <atomic>
#include <memory>
#include <utility>

#include "libs/base/clock.h"
#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"

namespace millrace::event_log {

/// Ends the test when the log does not open.
inline std::unique_ptr<EventLog> Open(const LocalLogOptions& options) {
  StatusOr<std::unique_ptr<EventLog>> log = OpenLocalLog(options);
  INFO(Message(log.status()));
  REQUIRE(log.ok());
  return *std::move(log);
}

/// Moved by the test while the writer thread reads it.
class SharedClock final : public Clock {
 public:
  int64_t NowMicros() const override { return now_us_; }
  MonotonicTime Monotonic() const override { return MonotonicTime(Micros(now_us_)); }
  void Advance(Micros by) { now_us_ += by.count(); }

 private:
  std::atomic<int64_t> now_us_{1'767'225'600'000'000};
};

}  // namespace millrace::event_log
