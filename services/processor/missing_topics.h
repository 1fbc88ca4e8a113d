#pragma once

#include <string_view>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/base/string_map.h"
#include "libs/config/config_source.h"
#include "libs/event_log/event_log.h"
#include "services/processor/fan_out.h"

namespace millrace::processor {

/// Why a destination has no topic; also what its events are counted by.
inline constexpr std::string_view kDestinationDeleted = "destination_deleted";
inline constexpr std::string_view kTopicMissing = "topic_missing";

/// Which destinations that events may go to have no topic: the control plane makes and deletes
/// topics, and this service may be behind its configuration, or it may have failed. Their events
/// hold up no others. Owned by a worker; one thread.
class MissingTopics {
 public:
  MissingTopics(event_log::EventLog& log, Clock& clock, const config::ConfigSource& newest)
      : log_(log), clock_(clock), newest_(newest) {}

  /// Looks when `fan_out` is another one, and from time to time while a topic is missing. Errors as
  /// EventLog::ListTopics.
  Status Refresh(const FanOut& fan_out);
  /// The next Refresh looks.
  void Forget() { looked_for_ = nullptr; }

  using Reasons = StringMap<std::string_view>;
  /// By destination: kDestinationDeleted when the newest workspace has it no more, or
  /// kTopicMissing.
  const Reasons& reasons() const { return reasons_; }

 private:
  event_log::EventLog& log_;
  Clock& clock_;
  const config::ConfigSource& newest_;
  const FanOut* looked_for_ = nullptr;  // compared only
  MonotonicTime looked_at_;
  Reasons reasons_;
};

}  // namespace millrace::processor
