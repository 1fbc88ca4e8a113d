#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "millrace/event/v1/event.pb.h"

namespace millrace::gateway {

struct Limits {
  size_t max_event_bytes = 1 << 20;
  int max_depth = 128;
};

/// What is known of a request before its body is read.
struct RequestInfo {
  bool batch = false;                    // {"batch": [...]}, else one event
  event::v1::EventType type{};           // of a single event's path; of a batch's events: in them
  std::string_view request_ip;
  int64_t received_at_us = 0;
};

/// One event to be appended to topic `ingest`.
struct AcceptedEvent {
  std::string_view bytes;  // of the body, or of Acceptance::spliced
  event::v1::EventMeta meta;  // workspace and source are the caller's to fill
  std::string user_key_user;  // user id or anonymous id
};

/// The events of one request. The views are valid as long as the body and this object.
struct Acceptance {
  std::vector<AcceptedEvent> events;
  std::deque<std::string> spliced;
  std::string write_key;  // of the body, or its first event; "" when there is none
  uint32_t rejected = 0;  // of `events`
  uint32_t repaired = 0;  // of `events`
};

/// Reads a body, checks its structure and fills in what SDKs leave out: messageId, type. A bad event of a
/// batch is kept with EventMeta.rejected_reason set; the others are not touched by it.
///
/// kInvalidArgument, with the message to answer, when the body cannot be read or holds one event that
/// can never be valid; kResourceExhausted when that event is too large. A lone surrogate, invalid UTF-8
/// or a number beyond a double's range is repaired, or kept as it is where JSON allows it, and counted.
/// Thread-safe; the body must outlive `acceptance`.
Status Accept(std::string_view body, const RequestInfo& info, const Limits& limits,
              Acceptance* acceptance);

}  // namespace millrace::gateway
