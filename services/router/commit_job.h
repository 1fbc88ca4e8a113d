#pragma once

#include <string>
#include <vector>

#include "libs/event_log/event_log.h"

namespace millrace::router {

struct OwnedRecord {
  std::string_view topic;  // one of the constants of event_log.h
  std::string key;
  std::string value;
};

/// An event of a parked user, on its way to the parking topic.
struct ParkedRecord {
  event_log::TopicPartition to;
  std::string key;
  std::string meta;
  std::string value;
};

/// What one commit moves.
struct CommitJob {
  std::vector<OwnedRecord> records;
  std::vector<ParkedRecord> parked;
  std::vector<event_log::CommittedOffset> offsets;
};

}  // namespace millrace::router
