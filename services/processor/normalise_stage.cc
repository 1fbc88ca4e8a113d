#include "services/processor/normalise_stage.h"

#include <utility>

#include "libs/base/clock.h"
#include "libs/base/hash.h"

namespace millrace::processor {
namespace {

bool Absent(std::string_view raw) { return raw.empty() || raw == "null" || raw == "\"\""; }

std::string RudderId(std::string_view user_id, std::string_view anonymous_id) {
  std::string id = Md5Hex(std::string(user_id) + ":" + std::string(anonymous_id));
  for (const size_t dash : {8u, 13u, 18u, 23u}) id.insert(dash, "-");
  return id;
}

/// The moment a raw field names, or `fallback` when it names none.
int64_t TimeOr(std::string_view raw, int64_t fallback) {
  int64_t unix_us = 0;
  return ParseTimestamp(event::DecodeText(raw), &unix_us) ? unix_us : fallback;
}

void Normalise(Event& event) {
  const event::EventFields& fields = event.fields;
  const int64_t received = event.meta.received_at_us();
  const int64_t sent = TimeOr(
      fields.sent_at, event.meta.sent_at_us() != 0 ? event.meta.sent_at_us() : received);
  const int64_t original = TimeOr(fields.original_timestamp, received);
  const auto quoted = [](int64_t unix_us) { return '"' + FormatRfc3339Millis(unix_us) + '"'; };

  std::vector<std::pair<std::string_view, std::string>> values;
  values.reserve(8);
  values.emplace_back("receivedAt", quoted(received));
  if (!event.meta.request_ip().empty() && Absent(fields.request_ip)) {
    values.emplace_back("request_ip", event::QuoteJson(event.meta.request_ip()));
  }
  if (Absent(fields.original_timestamp)) values.emplace_back("originalTimestamp", quoted(original));
  if (Absent(fields.sent_at)) values.emplace_back("sentAt", quoted(sent));
  if (Absent(fields.timestamp)) {
    values.emplace_back("timestamp", quoted(received - (sent - original)));
  }
  if (Absent(fields.message_id)) {
    values.emplace_back("messageId", event::QuoteJson(event.meta.message_id()));
  }
  values.emplace_back(
      "rudderId", '"' + RudderId(event.meta.user_id(), event.meta.anonymous_id()) + '"');
  event.owned = event::SetFields(event.bytes, values);
  event.bytes = event.owned;
}

}  // namespace

Status NormaliseStage::Run(EventBatch& batch) {
  for (Event& event : batch.events) {
    if (!event.live()) continue;
    if (!event.meta.rejected_reason().empty()) {
      event.stage = "gateway";
      event.DeadLetter(event.meta.rejected_reason());
      continue;
    }
    if (const Status status = event::ScanFields(event.bytes, &event.fields); !status.ok()) {
      event.DeadLetter(std::string(Message(status)));
      continue;
    }
    Normalise(event);
    MR_RETURN_IF_ERROR(event::ScanFields(event.bytes, &event.fields));
  }
  return OkStatus();
}

}  // namespace millrace::processor
