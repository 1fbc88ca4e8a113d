#include "services/gateway/acceptance.h"

#include <simdjson.h>

#include <utility>

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/event/event_fields.h"
#include "libs/event/scan.h"
#include "services/gateway/json_check.h"

namespace millrace::gateway {
namespace {

using event::EventFields;

Status Refuse(std::string_view message) { return MakeStatus(StatusCode::kInvalidArgument, message); }

/// Whether the whole text is JSON by simdjson, whose parser each thread keeps.
bool IsJson(std::string_view text, int max_depth) {
  thread_local simdjson::dom::parser parser;
  if (parser.max_depth() != static_cast<size_t>(max_depth) &&
      parser.allocate(text.size() + 64, static_cast<size_t>(max_depth)) != simdjson::SUCCESS) {
    return false;
  }
  return parser.parse(text.data(), text.size()).error() == simdjson::SUCCESS;
}

bool Absent(std::string_view raw) { return raw.empty() || raw == "null" || raw == "\"\""; }

/// Why an event with these fields can never be valid, or "". Fills type and ids of `accepted`.
std::string_view Check(const EventFields& fields, const RequestInfo& info, AcceptedEvent* accepted) {
  event::v1::EventMeta& meta = accepted->meta;
  meta.set_type(info.type != event::v1::EVENT_TYPE_UNSPECIFIED
                    ? info.type
                    : event::ParseEventType(event::DecodeText(fields.type)));
  meta.set_user_id(event::DecodeText(fields.user_id));
  meta.set_anonymous_id(event::DecodeText(fields.anonymous_id));
  accepted->user_key_user = meta.user_id().empty() ? meta.anonymous_id() : meta.user_id();
  if (accepted->user_key_user.empty()) return "request neither has anonymousId nor userId";
  if (meta.type() == event::v1::EVENT_TYPE_UNSPECIFIED) return "event is not a valid rudder event";
  return {};
}

/// Splices in what the SDK left out.
void FillIn(const EventFields& fields, AcceptedEvent* accepted,
            Acceptance* acceptance) {
  event::v1::EventMeta& meta = accepted->meta;
  meta.set_message_id(event::DecodeText(fields.message_id));
  std::vector<std::pair<std::string_view, std::string>> values;
  if (meta.message_id().empty()) {
    meta.set_message_id(NewUuid());
    values.emplace_back("messageId", event::QuoteJson(meta.message_id()));
  }
  const std::string_view type = event::EventTypeName(meta.type());
  if (fields.type.size() != type.size() + 2 || fields.type.substr(1, type.size()) != type) {
    values.emplace_back("type", event::QuoteJson(type));
  }
  if (Absent(fields.original_timestamp) && !Absent(fields.timestamp)) {
    values.emplace_back("originalTimestamp", std::string(fields.timestamp));
  }
  if (values.empty()) return;
  accepted->bytes =
      acceptance->spliced.emplace_back(event::SetFields(accepted->bytes, values));
}

void AddEvent(std::string_view raw, const RequestInfo& info, const Limits& limits, int64_t sent_at_us,
              uint32_t repairs, Acceptance* acceptance) {
  AcceptedEvent& accepted = acceptance->events.emplace_back();
  accepted.bytes = raw;
  accepted.meta.set_received_at_us(info.received_at_us);
  accepted.meta.mutable_request_ip()->assign(info.request_ip);
  accepted.meta.set_sent_at_us(sent_at_us);
  accepted.meta.set_repairs(repairs);
  EventFields fields;
  std::string_view fault;
  if (raw.size() > limits.max_event_bytes) {
    fault = "request size exceeds max limit";
  } else if (!event::ScanFields(raw, &fields).ok()) {
    fault = "event is not a valid rudder event";
  } else {
    fault = Check(fields, info, &accepted);
  }
  if (acceptance->write_key.empty()) acceptance->write_key = event::DecodeText(fields.write_key);
  if (repairs > 0) ++acceptance->repaired;
  if (fault.empty()) return FillIn(fields, &accepted, acceptance);
  ++acceptance->rejected;
  accepted.meta.mutable_rejected_reason()->assign(fault);
  accepted.meta.set_message_id(event::DecodeText(fields.message_id));
  if (accepted.meta.message_id().empty()) accepted.meta.set_message_id(NewUuid());
}

/// Keeps an element of a batch that is no JSON for anyone.
void AddBroken(std::string_view raw, const RequestInfo& info, const std::string& fault,
               Acceptance* acceptance) {
  AcceptedEvent& accepted = acceptance->events.emplace_back();
  accepted.bytes = raw;
  accepted.meta.set_received_at_us(info.received_at_us);
  accepted.meta.mutable_request_ip()->assign(info.request_ip);
  accepted.meta.set_message_id(NewUuid());
  accepted.meta.set_rejected_reason("invalid json: " + fault);
  ++acceptance->rejected;
}

/// The elements of the batch, each checked by itself when the body as a whole was not valid.
Status AddBatch(std::string_view body, const RequestInfo& info, const Limits& limits, bool valid,
                Acceptance* acceptance) {
  std::string_view batch, sent_at, write_key;
  const char* end = body.data() + body.size();
  const char* start = event::scan::SkipSpace(body.data(), end);
  if (start == end || *start != '{') return Refuse("invalid json");
  event::scan::Members members(start, end);
  for (event::scan::Member member; members.Next(&member);) {
    if (event::scan::KeyIs(member.key, "batch")) batch = member.value;
    if (event::scan::KeyIs(member.key, "sentAt")) sent_at = member.value;
    if (event::scan::KeyIs(member.key, "writeKey")) write_key = member.value;
  }
  acceptance->write_key = event::DecodeText(write_key);
  if (members.at() == nullptr) return Refuse("invalid json");
  if (batch.empty() || batch.front() != '[') return Refuse("empty batch payload");
  int64_t sent_at_us = 0;
  if (!ParseTimestamp(event::DecodeText(sent_at), &sent_at_us)) sent_at_us = 0;

  const char* batch_end = batch.data() + batch.size();
  event::scan::Elements elements(batch.data(), batch_end);
  for (const char* element = nullptr; elements.Next(&element);) {
    const char* element_end = event::scan::SkipValue(element, batch_end);
    if (element_end == nullptr) return Refuse("invalid json");
    elements.Advance(element_end);
    const std::string_view raw(element, static_cast<size_t>(element_end - element));
    if (valid || IsJson(raw, limits.max_depth)) {
      AddEvent(raw, info, limits, sent_at_us, 0, acceptance);
      continue;
    }
    std::string repaired, fault;
    uint32_t repairs = 0;
    if (CheckAndRepairJson(raw, limits.max_depth, &repaired, &repairs, &fault)) {
      AddEvent(acceptance->spliced.emplace_back(std::move(repaired)), info, limits, sent_at_us,
               repairs, acceptance);
    } else {
      AddBroken(raw, info, fault, acceptance);
    }
  }
  return acceptance->events.empty() ? Refuse("empty batch payload") : OkStatus();
}

}  // namespace

Status Accept(std::string_view body, const RequestInfo& info, const Limits& limits,
              Acceptance* acceptance) {
  if (body.empty()) return Refuse("request body is nil");
  const bool valid = IsJson(body, limits.max_depth + 2);
  if (info.batch) return AddBatch(body, info, limits, valid, acceptance);
  uint32_t repairs = 0;
  if (!valid) {
    std::string fault;
    std::string& repaired = acceptance->spliced.emplace_back();
    if (!CheckAndRepairJson(body, limits.max_depth, &repaired, &repairs, &fault)) {
      return Refuse("invalid json");
    }
    body = repaired;
  }
  AddEvent(body, info, limits, 0, repairs, acceptance);
  const std::string& reason = acceptance->events.front().meta.rejected_reason();
  if (reason.empty()) return OkStatus();
  return MakeStatus(body.size() > limits.max_event_bytes ? StatusCode::kResourceExhausted
                                                         : StatusCode::kInvalidArgument,
                    reason);
}

}  // namespace millrace::gateway
