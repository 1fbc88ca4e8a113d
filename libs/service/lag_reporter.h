#pragma once

#include <chrono>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "libs/event_log/event_log.h"
#include "libs/telemetry/metrics.h"

namespace millrace::service {

/// Sets the gauges that say how far the readers are behind the log:
///   millrace_log_lag_records{group,topic,partition}  records that the group has not committed;
///   millrace_pending_events{destination}              the same, of all partitions of one
///   destination; millrace_ingest_pending_events                    of what the processor has not
///   read; millrace_log_disk_bytes                           bytes of the local log's files, if
///   there is a folder.
/// An event counts as pending until all before it in its partition are done, so that a gauge may be
/// a little above what the audit says.
///
/// The series of a destination whose topics are gone, these and all others of the process, go with
/// them.
///
/// Owned by main; looks every `interval` on a thread of its own, as a look may block on the log.
class LagReporter {
 public:
  struct Options {
    /// Groups whose lag this process reports; processes that report the same group say the same.
    std::vector<std::string> groups = {"processor", "router", "warehouse-loader"};
    std::string log_folder;  // of the local log; empty: none
    std::chrono::milliseconds interval{2000};
  };
  LagReporter(Options options, event_log::EventLog& log, telemetry::Metrics& metrics)
      : options_(std::move(options)), log_(log), metrics_(metrics) {}

  void Start();
  void Stop();
  /// Looks at the log now. For tests, when not started. After an error the gauges that were not
  /// reached keep their last values.
  Status Report();

 private:
  struct Lag {
    bool reads = false;   // the group has committed something of the topic
    int64_t records = 0;  // not committed
  };
  StatusOr<Lag> ReportGroup(const std::string& group, const std::string& topic);
  StatusOr<int64_t> ReportTopic(const std::string& topic);
  void RemoveSeries(const std::string& destination);
  void ReportDisk();

  const Options options_;
  event_log::EventLog& log_;
  telemetry::Metrics& metrics_;
  std::set<std::string> destinations_;  // of the last look
  std::jthread thread_;                 // last: it uses the others
};

}  // namespace millrace::service
