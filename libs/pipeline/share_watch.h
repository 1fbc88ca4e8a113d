#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "libs/base/snapshot.h"
#include "libs/base/status.h"
#include "libs/config/config_source.h"
#include "libs/event_log/event_log.h"
#include "libs/pipeline/shares.h"
#include "libs/telemetry/metrics.h"

namespace millrace::pipeline {

/// Looks each second at what every destination uses of the log: sets the gauges
/// millrace_destination_share_bytes and millrace_destination_share_limit_bytes, writes a line when
/// a destination comes to half, to 80 % and to all of its share and when it has come down again,
/// and hands out the newest evaluation.
///
/// Owned by main, outlives who asks it. Thread-safety: Current may be called from any thread; Start
/// and Stop from one. When the log cannot say, the last evaluation stands.
class ShareWatch {
 public:
  ShareWatch(ShareOptions options, event_log::EventLog& log, const config::ConfigSource& workspace,
             telemetry::Metrics& metrics, std::chrono::milliseconds interval = kInterval)
      : options_(options),
        log_(log),
        workspace_(workspace),
        metrics_(metrics),
        interval_(interval) {}

  void Start();
  void Stop();
  /// Never null; without destinations until the first look.
  std::shared_ptr<const ShareEvaluation> Current() const { return current_.Get(); }
  /// Looks now. For tests, when not started.
  Status Look();
  /// The last step that a destination's line told of: 0 = below half of its share, 50, 80 or 100.
  /// For tests, when not started.
  int Step(const std::string& destination_id) const;

 private:
  static constexpr std::chrono::milliseconds kInterval{1000};

  void ShowBytes(const std::string& id, const DestinationShare& share);
  void Show(const ShareEvaluation& evaluation);
  void Warn(const std::string& id, const DestinationShare& share);
  void WarnTogether(const ShareEvaluation& evaluation);

  const ShareOptions options_;
  event_log::EventLog& log_;
  const config::ConfigSource& workspace_;
  telemetry::Metrics& metrics_;
  const std::chrono::milliseconds interval_;
  Snapshot<ShareEvaluation> current_{std::make_shared<const ShareEvaluation>()};
  std::map<std::string, int, std::less<>> steps_;  // of those that are shown
  bool together_ = false;                          // its line was written
  std::jthread thread_;                            // last: it uses the others
};

}  // namespace millrace::pipeline
