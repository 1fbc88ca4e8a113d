#include "services/processor/normalise_stage.h"

#include <utility>

#include "libs/base/clock.h"
#include "libs/base/hash.h"

namespace millrace::processor {
namespace {

bool Absent(std::string_view raw) {
  return raw.empty() || raw == "null" || raw == "\"\"";
}

/// The MD5 as a UUID: RudderStack sets the bits of version 4 and of the RFC's variant in it.
std::string RudderId(std::string_view user_id, std::string_view anonymous_id) {
  std::string id = Md5Hex(std::string(user_id) + ":" + std::string(anonymous_id));
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  id[12] = '4';
  id[16] = "89ab"[digit(id[16]) & 3];
  for (const size_t dash : {8u, 13u, 18u, 23u}) id.insert(dash, "-");
  return id;
}

/// Whether a raw field names a moment.
bool ReadTime(std::string_view raw, int64_t* unix_us) {
  return !Absent(raw) && ParseTimestamp(event::DecodeText(raw), unix_us);
}

void Normalise(Event& event) {
  const event::EventFields& fields = event.fields;
  const int64_t received = event.meta.received_at_us();
  int64_t sent = event.meta.sent_at_us() != 0 ? event.meta.sent_at_us() : received;
  int64_t original = received;
  int64_t given = 0;
  const bool has_sent = ReadTime(fields.sent_at, &sent);
  const bool has_original = ReadTime(fields.original_timestamp, &original);
  event.original_at_us = original;
  const auto quoted = [](int64_t unix_us) { return '"' + FormatRfc3339Millis(unix_us) + '"'; };

  std::vector<std::pair<std::string_view, std::string>> values;
  values.reserve(8);
  values.emplace_back("receivedAt", quoted(received));
  if (!event.meta.request_ip().empty() && Absent(fields.request_ip)) {
    values.emplace_back("request_ip", event::QuoteJson(event.meta.request_ip()));
  }
  if (!has_original) values.emplace_back("originalTimestamp", quoted(original));
  if (!has_sent) values.emplace_back("sentAt", quoted(sent));
  if (!ReadTime(fields.timestamp, &given)) {
    values.emplace_back("timestamp", quoted(received - (sent - original)));
  }
  if (Absent(fields.message_id)) {
    values.emplace_back("messageId", event::QuoteJson(event.meta.message_id()));
  }
  values.emplace_back("rudderId",
                      '"' + RudderId(event.meta.user_id(), event.meta.anonymous_id()) + '"');
  event.bytes = Bytes(event::SetFields(event.bytes.view(), values));
}

}  // namespace

Status NormaliseStage::Run(EventBatch& batch) {
  for (Event& event : batch.events) {
    if (!event.live()) continue;
    if (!event.meta.rejected_reason().empty()) {
      event.stage = "gateway";
      event.DeadLetter("rejected_by_gateway", event.meta.rejected_reason());
      continue;
    }
    if (const Status status = event::ScanFields(event.bytes.view(), &event.fields); !status.ok()) {
      event.DeadLetter("invalid_json", std::string(Message(status)));
      continue;
    }
    if (event.meta.has_redrive()) continue;  // it was normalised before it failed
    Normalise(event);
    MR_RETURN_IF_ERROR(event::ScanFields(event.bytes.view(), &event.fields));
  }
  return OkStatus();
}

}  // namespace millrace::processor
