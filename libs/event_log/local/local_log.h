#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/event_log/event_log.h"
#include "libs/event_log/local/io.h"

namespace millrace::event_log {

struct LocalLogOptions {
  std::string path;                       // folder; made when there is none
  uint64_t quota_bytes = 10ULL << 30;     // of disk; appends beyond it are refused (Room)
  uint64_t segment_bytes = 64ULL << 20;   // of one journal file; less for a small quota
  size_t max_in_flight_bytes = 64 << 20;  // appended and not yet durable
  /// The most that one transaction, or one call of an appender, may hold: it becomes one frame.
  size_t max_transaction_bytes = 64 << 20;
  /// Disk that new events leave free, so that other stores on it can go on; what moves events on
  /// leaves half of it, what closes them a quarter. Nothing: 256 MiB, or a twentieth of the quota
  /// if that is less.
  std::optional<uint64_t> reserve_bytes;
  /// How often what is old, deleted or read gives its disk back.
  std::chrono::milliseconds maintenance_interval{1000};
  /// Topics of small records that say what became of others: they may use all of the quota, for
  /// without them nothing that was read could be committed, so nothing be freed.
  std::vector<std::string> closing_topics;
  Clock* clock = &SystemClock();  // outlives the log
  Io* io = &SystemIo();           // outlives the log
};

/// Opens the embedded log, one journal for all topics that one process at a time may use, and
/// recovers what is in it. Errors: kFailedPrecondition when another process has it or its format is
/// newer; kUnavailable when the disk fails. From then on the process ignores SIGXFSZ: a file that
/// may not grow is a full disk.
StatusOr<std::unique_ptr<EventLog>> OpenLocalLog(const LocalLogOptions& options);

}  // namespace millrace::event_log
