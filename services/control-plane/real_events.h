#pragma once

#include <string>
#include <vector>

#include "libs/event_log/event_log.h"
#include "millrace/event/v1/event.pb.h"

namespace millrace::control_plane {

struct RealEvent {
  event::v1::EventMeta meta;
  std::string event;  // as the gateway stamped it
};

/// The last `count` events of a source, oldest first, read backwards from the end of topic
/// `ingest`: fewer when the last 200,000 records have no more, or when `deadline` comes.
StatusOr<std::vector<RealEvent>> LastEvents(event_log::EventLog& log, const std::string& source_id,
                                            size_t count,
                                            std::chrono::steady_clock::time_point deadline);

}  // namespace millrace::control_plane
