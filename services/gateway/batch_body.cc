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
