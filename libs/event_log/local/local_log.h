#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/event_log/event_log.h"
#include "libs/event_log/local/io.h"

namespace millrace::event_log {

struct LocalLogOptions {
  std::string path;                       // folder; made when there is none
  uint64_t quota_bytes = 10ULL << 30;     // of disk; appends beyond it are refused (Room)
  uint64_t segment_bytes = 64ULL << 20;   // of one journal file
  size_t max_in_flight_bytes = 64 << 20;  // appended and not yet durable
  std::chrono::milliseconds retention = std::chrono::hours(7 * 24);  // of topics that name none
  /// Topics of small records that say what became of others: they may use all of the quota, for
  /// without them nothing that was read could be committed, so nothing be freed.
  std::vector<std::string> closing_topics;
  Clock* clock = &SystemClock();  // outlives the log
  Io* io = &SystemIo();           // outlives the log
};

/// Opens the embedded log, one journal for all topics that one process at a time may use, and
/// recovers what is in it. Errors: kFailedPrecondition when another process has it or its format is
/// newer; kUnavailable when the disk fails.
StatusOr<std::unique_ptr<EventLog>> OpenLocalLog(const LocalLogOptions& options);

}  // namespace millrace::event_log
