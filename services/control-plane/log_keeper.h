#pragma once

#include <map>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/event_log/event_log.h"
#include "millrace/accounting/v1/accounting.pb.h"
#include "services/control-plane/store.h"

namespace millrace::control_plane {

/// Keeps the topics that the control plane reads, and what its store has of them, within bounds:
/// what the store holds goes from the log. Of `counters`, whose sums a store that is made anew
/// needs too, a snapshot is written to the log first.
///
/// Owned by LogReader; one thread.
class LogKeeper {
 public:
  LogKeeper(event_log::EventLog& log, Store& store, Clock& clock, DeadLetterLimits limits)
      : log_(log), store_(store), clock_(clock), limits_(limits) {}

  /// `records` of `bytes` were taken into the store; `next` is its position there.
  void Taken(const event_log::TopicPartition& partition, int64_t next, size_t records,
             size_t bytes);
  /// Frees what is due. Errors leave it for the next call.
  Status Tidy();
  /// The newest whole snapshot in `counters`; nothing when there is none.
  StatusOr<std::optional<accounting::v1::CountersSnapshot>> FindSnapshot();

 private:
  Status TrimTaken();
  Status SnapshotCounters();
  Status Append(const std::vector<std::string>& values);

  event_log::EventLog& log_;
  Store& store_;
  Clock& clock_;
  const DeadLetterLimits limits_;
  std::map<event_log::TopicPartition, int64_t> taken_;  // and not trimmed; without `counters`
  size_t counted_records_ = 0;                          // since the last snapshot
  size_t counted_bytes_ = 0;
  MonotonicTime counted_since_{};
  MonotonicTime trimmed_at_{};
  MonotonicTime purged_at_{};
};

}  // namespace millrace::control_plane
