#include "services/gateway/acceptance.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>

#include "libs/base/ids.h"
#include "libs/event/event_fields.h"
#include "libs/event/repair.h"
#include "libs/event/scan.h"
#include "services/gateway/batch_body.h"

namespace millrace::gateway {
namespace {

using event::EventFields;

constexpr Fault kNotAnObject{400, "invalid json", "event is not a JSON object"};
constexpr Fault kTooDeep{400, "invalid json", "event is nested deeper than 128"};
constexpr Fault kNotJson{400, "invalid json", "event is not JSON"};
constexpr Fault kTooLarge{413, "request size exceeds max limit", "event is larger than the limit"};
constexpr Fault kTooManyKeys{413, "event has too many keys", "event has more keys than the limit"};
constexpr Fault kNoUser{400, "request neither has anonymousId nor userId",
                        "event has neither anonymousId nor userId"};
constexpr Fault kNoType{400, "event is not a valid rudder event", "event has no known type"};
constexpr Fault kLongId{400, "event is not a valid rudder event",
                        "messageId, userId or anonymousId is longer than 4096 bytes"};
// Ids travel beside the event and in its outcomes; unbounded ones would make records that no log
// takes.
constexpr size_t kMaxIdBytes = 4096;
// Of an event that is too large to keep, the dead letter shows the beginning.
constexpr size_t kKeptOfTooLarge = 64 << 10;
// Of several refused events of one request the dead letter shows the beginnings of the first few.
constexpr size_t kSamples = 5;
constexpr size_t kSampleBytes = 4 << 10;
// The shortest member, with what divides it from the next: `"":0,`.
constexpr size_t kLeastKeyBytes = 5;
// A parser keeps its memory, some 14 times the largest text: of larger texts it is given back.
constexpr size_t kKeptParserBytes = 128 << 10;

// As event::DecodeText, into a string that keeps its room.
void DecodeInto(std::string_view raw, std::string* text) {
  if (raw.size() >= 2 && raw.front() == '"' &&
      std::memchr(raw.data(), '\\', raw.size()) == nullptr) {
    text->assign(raw.substr(1, raw.size() - 2));
  } else {
    *text = event::DecodeText(raw);
  }
}

event::v1::EventType TypeOf(std::string_view raw) {
  if (raw.size() < 2 || raw.front() != '"') return event::v1::EVENT_TYPE_UNSPECIFIED;
  const auto type = event::ParseEventType(raw.substr(1, raw.size() - 2));
  if (type != event::v1::EVENT_TYPE_UNSPECIFIED) return type;
  return event::ParseEventType(event::DecodeText(raw));
}

bool Missing(std::string_view raw) {
  return raw.empty() || raw == "null";
}

event::v1::EventMeta& ReusedMeta() {
  thread_local event::v1::EventMeta meta;
  meta.Clear();
  return meta;
}

}  // namespace

struct Acceptance::Event {
  std::string_view json;
  EventFields fields;
  int depth = 0;
  uint32_t repairs = 0;
  event::v1::EventMeta& meta;
};

Acceptance::Acceptance(const Request& request) : request_(request) {}

std::string_view Acceptance::Keep(std::string_view text) {
  if (text.empty()) return {};
  auto* const kept = static_cast<char*>(arena_.allocate(text.size(), 1));
  std::memcpy(kept, text.data(), text.size());
  return {kept, text.size()};
}

const char* Acceptance::Take(const char* at, const char* end, Fault* fault) {
  Event event{.meta = ReusedMeta()};
  const char* const event_end = *at == '{'
                                    ? event::scan::ScanObject(at, end, &event.fields, &event.depth)
                                    : event::scan::SkipValue(at, end, &event.depth);
  if (event_end == nullptr) return nullptr;
  event.json = std::string_view(at, static_cast<size_t>(event_end - at));
  const Fault found = Judge(event);
  if (found.status != 0) {
    if (fault != nullptr)
      *fault = found;
    else
      Refuse(event, found);
    return event_end;
  }
  Stamp(event);
  Record(event, {});
  return event_end;
}

void Acceptance::TakeUnchecked(std::string_view json) {
  tolerant_ = !IsPlainJson(json);
  const char* const end = json.data() + json.size();
  const char* const at = event::scan::SkipSpace(json.data(), end);
  // The tolerant way checks what the scan has found to be the event: nothing may stand behind it.
  const char* const event_end = at == end ? nullptr : event::scan::SkipValue(at, end);
  if (event_end != nullptr && event::scan::SkipSpace(event_end, end) == end) {
    if (Take(at, end) != nullptr) return;
  }
  Event event{.json = json, .meta = ReusedMeta()};
  Refuse(event, kNotJson);
}

Fault Acceptance::Judge(Event& event) {
  if (event.json.size() > request_.max_event_bytes) return kTooLarge;
  if (event.depth > event::kMaxDepth) return kTooDeep;
  if (event.json.size() / kLeastKeyBytes > request_.max_event_keys &&
      CountKeys(event.json) > request_.max_event_keys) {
    return kTooManyKeys;
  }
  if (tolerant_) {
    const auto mended = event::Repair(event.json);
    if (!mended.ok()) return kNotJson;
    if (mended->repairs > 0) {
      event.repairs = mended->repairs;
      event.json = Keep(mended->json);
      if (event.json.size() > request_.max_event_bytes)
        return kTooLarge;  // a mend may take more room
      if (!event::ScanFields(event.json, &event.fields).ok()) return kNotAnObject;
    }
  }
  if (event.json.front() != '{') return kNotAnObject;
  const EventFields& fields = event.fields;
  bool long_id = false;
  DecodeInto(fields.message_id, event.meta.mutable_message_id());
  DecodeInto(fields.user_id, event.meta.mutable_user_id());
  DecodeInto(fields.anonymous_id, event.meta.mutable_anonymous_id());
  for (std::string* id : {event.meta.mutable_message_id(), event.meta.mutable_user_id(),
                          event.meta.mutable_anonymous_id()}) {
    if (id->size() <= kMaxIdBytes) continue;
    id->clear();
    long_id = true;
  }
  if (long_id) return kLongId;
  const auto type =
      path_type_ != event::v1::EVENT_TYPE_UNSPECIFIED ? path_type_ : TypeOf(fields.type);
  event.meta.set_type(type);
  if (type == event::v1::EVENT_TYPE_UNSPECIFIED) return kNoType;
  if (event.meta.user_id().empty() && event.meta.anonymous_id().empty()) return kNoUser;
  return {};
}

// Puts in what is missing: nearly always in front, so that the rest is one copy.
void Acceptance::Stamp(Event& event) {
  const EventFields& fields = event.fields;
  const bool no_id = event.meta.message_id().empty();
  const bool no_time = Missing(fields.timestamp) && Missing(fields.original_timestamp);
  const bool no_type =
      path_type_ != event::v1::EVENT_TYPE_UNSPECIFIED && TypeOf(fields.type) != path_type_;
  const bool null_anonymous = fields.anonymous_id == "null";
  if (!no_id && !no_time && !no_type && !null_anonymous) return;
  if (no_id) *event.meta.mutable_message_id() = NewUuid();
  if (no_time && received_at_.empty()) {
    received_at_ = '"' + FormatRfc3339Millis(request_.received_at_us) + '"';
  }
  const bool replaces = null_anonymous || (no_id && !fields.message_id.empty()) ||
                        (no_time && !fields.original_timestamp.empty()) ||
                        (no_type && !fields.type.empty());
  if (replaces) {
    std::vector<std::pair<std::string_view, std::string>> values;
    if (no_id) values.emplace_back("messageId", event::QuoteJson(event.meta.message_id()));
    if (no_time) values.emplace_back("originalTimestamp", received_at_);
    if (no_type) values.emplace_back("type", event::QuoteJson(event::EventTypeName(path_type_)));
    if (null_anonymous) values.emplace_back("anonymousId", "");
    event.json = Keep(event::SetFields(event.json, values));
    return;
  }
  const std::string_view type = event::EventTypeName(path_type_);
  const size_t room = event.json.size() + 24 + event.meta.message_id().size() + 32 +
                      received_at_.size() + 16 + type.size();
  auto* const begin = static_cast<char*>(arena_.allocate(room, 1));
  char* at = begin;
  const auto put = [&at](std::string_view text) {
    std::memcpy(at, text.data(), text.size());
    at += text.size();
  };
  put("{");
  if (no_id) {
    put("\"messageId\":\"");
    put(event.meta.message_id());
    put("\",");
  }
  if (no_time) {
    put("\"originalTimestamp\":");
    put(received_at_);
    put(",");
  }
  if (no_type) {
    put("\"type\":\"");
    put(type);
    put("\",");
  }
  // An event without a member has been refused, so a member follows the comma.
  put(event.json.substr(1));
  event.json = std::string_view(begin, static_cast<size_t>(at - begin));
}

void Acceptance::Record(const Event& event, const Fault& fault) {
  event::v1::EventMeta& meta = event.meta;
  meta.set_workspace_id(request_.source->workspace_id);
  meta.set_source_id(request_.source->id);
  meta.set_received_at_us(request_.received_at_us);
  meta.mutable_request_ip()->assign(request_.remote_ip);
  meta.set_repairs(event.repairs);
  if (Missing(event.fields.sent_at)) meta.set_sent_at_us(request_.sent_at_us);
  std::string_view value = event.json;
  if (fault.status != 0) {
    meta.mutable_rejected_reason()->assign(fault.reason);
    if (meta.message_id().empty()) *meta.mutable_message_id() = NewUuid();
    if (fault.status == 413) value = value.substr(0, kKeptOfTooLarge);
  } else {
    ++accepted_;
  }
  if (event.repairs > 0) ++repaired_;
  records_.push_back(Pack(meta, value));
}

event_log::TopicRecord Acceptance::Pack(event::v1::EventMeta& meta, std::string_view value) {
  const size_t meta_size = meta.ByteSizeLong();
  auto* const meta_bytes = static_cast<uint8_t*>(arena_.allocate(meta_size, 1));
  meta.SerializeWithCachedSizesToArray(meta_bytes);
  // Events of nobody are spread by their own id.
  const bool nobody = meta.user_id().empty() && meta.anonymous_id().empty();
  const std::string key = event::UserKey(meta.workspace_id(), meta.user_id(),
                                         nobody ? meta.message_id() : meta.anonymous_id());
  return {event_log::kIngestTopic,
          {.key = Keep(key),
           .meta = {reinterpret_cast<const char*>(meta_bytes), meta_size},
           .value = value}};
}

// The first refused event has a record of its own, which Finish replaces when others followed.
void Acceptance::Refuse(const Event& event, const Fault& fault) {
  if (++rejected_ == 1) {
    refused_at_ = records_.size();
    Record(event, fault);
  }
  const auto known = std::find_if(reasons_.begin(), reasons_.end(),
                                  [&](const auto& one) { return one.first == fault.reason; });
  if (known == reasons_.end())
    reasons_.emplace_back(fault.reason, 1);
  else
    ++known->second;
  if (samples_.size() < kSamples) samples_.push_back(event.json.substr(0, kSampleBytes));
}

// The reason in one line, and the value of a record that stands for all refused events.
std::string Acceptance::Refused(std::string* value) const {
  std::string line = fmt::format("{} events of one request were refused:", rejected_);
  std::string reasons, samples;
  for (const auto& [reason, count] : reasons_) {
    line += fmt::format("{} {} ({})", reasons.empty() ? "" : ",", reason, count);
    reasons += fmt::format("{}{}:{}", reasons.empty() ? "" : ",", event::QuoteJson(reason), count);
  }
  for (const std::string_view sample : samples_) {
    if (!samples.empty()) samples += ',';
    samples += event::QuoteJson(sample);
  }
  *value = fmt::format(R"({{"refused":{},"reasons":{{{}}},"samples":[{}]}})", rejected_, reasons,
                       samples);
  // Samples may be no UTF-8, or cut within a character.
  if (auto mended = event::Repair(*value); mended.ok()) *value = std::move(mended->json);
  return line;
}

const std::vector<event_log::TopicRecord>& Acceptance::Finish() {
  if (rejected_ < 2) return records_;
  event::v1::EventMeta& meta = ReusedMeta();
  std::string value;
  *meta.mutable_rejected_reason() = Refused(&value);
  meta.set_rejected_count(rejected_);
  meta.set_workspace_id(request_.source->workspace_id);
  meta.set_source_id(request_.source->id);
  meta.set_received_at_us(request_.received_at_us);
  meta.mutable_request_ip()->assign(request_.remote_ip);
  *meta.mutable_message_id() = NewUuid();
  records_[refused_at_] = Pack(meta, Keep(value));
  return records_;
}

bool IsPlainJson(std::string_view json) {
  if (json.size() > kKeptParserBytes) {
    simdjson::dom::parser large;
    return large.parse(json.data(), json.size()).error() == simdjson::SUCCESS;
  }
  thread_local simdjson::dom::parser parser;
  return parser.parse(json.data(), json.size()).error() == simdjson::SUCCESS;
}

}  // namespace millrace::gateway
