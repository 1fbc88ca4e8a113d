#pragma once

#include <condition_variable>
#include <map>
#include <string>
#include <thread>

#include "libs/base/mutex.h"
#include "libs/event_log/event_log.h"
#include "services/control-plane/log_keeper.h"
#include "services/control-plane/store.h"

namespace millrace::control_plane {

/// Reads topics `counters`, `dead-letter` and `transformation-report` into the store, each record
/// exactly once: the store holds the positions. Owned by ControlPlane; Start and Stop are one
/// thread's.
class LogReader {
 public:
  LogReader(event_log::EventLog& log, Store& store, Clock& clock, const DeadLetterLimits& limits)
      : log_(log), store_(store), keeper_(log, store, clock, limits) {}
  ~LogReader() { Stop(); }

  void Start();
  void Stop();
  /// Waits until all that was in the topics at the time of the call has been read. False: `timeout`
  /// came first.
  bool CatchUp(std::chrono::milliseconds timeout);

 private:
  void Run(const std::stop_token& stop);
  Status Read(const std::stop_token& stop);
  Status UseLog();
  Status RestoreCounters();
  StatusOr<std::vector<event_log::CommittedOffset>> Positions();
  Status Take(const event_log::RecordBatch& batch);

  event_log::EventLog& log_;
  Store& store_;
  LogKeeper keeper_;  // the thread's
  Mutex mu_;
  std::condition_variable moved_;
  std::map<event_log::TopicPartition, int64_t> positions_ ABSL_GUARDED_BY(mu_);
  std::jthread thread_;
};

}  // namespace millrace::control_plane
