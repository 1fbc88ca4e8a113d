#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "millrace/event/v1/event.pb.h"

namespace millrace::event {

/// Top-level fields of one event. Each is the raw JSON text of the value (strings with their
/// quotes), empty when the field is absent; of a key that stands twice the last one counts, as in
/// JavaScript. The views point into the event's bytes.
struct EventFields {
  std::string_view type, message_id, user_id, anonymous_id, previous_id, group_id;
  std::string_view event, name, channel, write_key;
  std::string_view timestamp, original_timestamp, sent_at, received_at, request_ip;
  std::string_view integrations, context, properties, traits;
};

/// Finds the fields of `json`, one JSON object that has been validated before; leading and trailing
/// white space is allowed. kInvalidArgument when it is not an object.
Status ScanFields(std::string_view json, EventFields* fields);

/// The text of a raw JSON string, escapes resolved ("" for null, absent and non-strings; numbers
/// give their digits, as SDKs send numeric user ids).
std::string DecodeText(std::string_view raw);

/// `text` as a JSON string with its quotes.
std::string QuoteJson(std::string_view text);

/// The event with top-level fields set (put first, in their order; the key's old members go) in one
/// copy, the rest of the bytes untouched. Values are raw JSON; an empty value removes the key.
std::string SetFields(std::string_view json,
                      const std::vector<std::pair<std::string_view, std::string>>& values);

/// UNSPECIFIED when `name` is no event type.
v1::EventType ParseEventType(std::string_view name);
std::string_view EventTypeName(v1::EventType type);

/// The log key of a user: events with the same key keep their order from end to end. The user id,
/// or the anonymous id when there is none, with the workspace before it.
std::string UserKey(std::string_view workspace_id, std::string_view user_id,
                    std::string_view anonymous_id);

}  // namespace millrace::event
