#include "services/gateway/batch_body.h"

#include "libs/event/event_fields.h"
#include "libs/event/scan.h"

namespace millrace::gateway {

bool ScanBatchBody(std::string_view body, BatchBody* found) {
  const char* const end = body.data() + body.size();
  event::scan::Members members(event::scan::SkipSpace(body.data(), end), end);
  event::scan::Member member;
  while (members.Next(&member)) {
    if (event::scan::KeyIs(member.key, "batch"))
      found->batch = member.value;
    else if (event::scan::KeyIs(member.key, "sentAt"))
      found->sent_at = member.value;
    else if (event::scan::KeyIs(member.key, "writeKey"))
      found->write_key = member.value;
  }
  return members.at() != nullptr;
}

size_t CountBatch(std::string_view body) {
  BatchBody outer;
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) return 0;
  ScanBatchBody(body, &outer);
  if (outer.batch.empty() || outer.batch.front() != '[') return 0;
  const char* const end = outer.batch.data() + outer.batch.size();
  event::scan::Elements elements(outer.batch.data(), end);
  const char* at = nullptr;
  size_t count = 0;
  while (elements.Next(&at)) {
    ++count;
    const char* const after = event::scan::SkipValue(at, end);
    if (after == nullptr) break;
    elements.Advance(after);
  }
  return count;
}

size_t CountKeys(std::string_view json) {
  const char* at = json.data();
  const char* const end = at + json.size();
  size_t count = 0;
  while (at != end) {
    if (*at == '"') {
      at = event::scan::SkipString(at, end);
      if (at == nullptr) break;
      continue;
    }
    count += *at == ':' ? 1 : 0;
    ++at;
  }
  return count;
}

std::string WriteKeyOfEvents(std::string_view batch) {
  const char* const end = batch.data() + batch.size();
  event::scan::Elements elements(batch.data(), end);
  const char* at = nullptr;
  while (elements.Next(&at)) {
    event::EventFields fields;
    const char* const after =
        *at == '{' ? event::scan::ScanObject(at, end, &fields) : event::scan::SkipValue(at, end);
    if (after == nullptr) return {};
    if (std::string key = event::DecodeText(fields.write_key); !key.empty()) return key;
    elements.Advance(after);
  }
  return {};
}

}  // namespace millrace::gateway
