#include "services/processor/parts.h"

#include <algorithm>

namespace millrace::processor {
namespace {

constexpr size_t kBesideBytes = 400;  // metadata and framing of one record

}  // namespace

size_t EstimateOutputBytes(const Event& event, const FanOut& fan_out) {
  const SourceRoutes* source = fan_out.Source(event.meta.source_id());
  size_t records = source == nullptr ? 1 : std::max<size_t>(1, source->open_routes);
  if (!event.live() || !event.meta.redrive().destination_id().empty()) records = 1;
  return records * (event.bytes.view().size() + event.user_key.size() + kBesideBytes);
}

std::vector<Part> PartsOf(const EventBatch& batch, const FanOut& fan_out, size_t max_bytes) {
  std::vector<Part> parts;
  size_t bytes = 0;
  for (size_t i = 0; i < batch.events.size(); ++i) {
    const size_t more = EstimateOutputBytes(batch.events[i], fan_out);
    if (parts.empty() || bytes + more > max_bytes) {
      parts.push_back({.begin = i, .end = i});
      bytes = 0;
    }
    bytes += more;
    parts.back().end = i + 1;
  }
  return parts;
}

bool IsUnknown(const FanOut& fan_out, const Event& event) {
  return event.live() && event.meta.rejected_reason().empty() &&
         fan_out.Source(event.meta.source_id()) == nullptr;
}

void RefuseUnknown(const FanOut& fan_out, Part part, EventBatch& batch) {
  for (size_t i = part.begin; i < part.end; ++i) {
    Event& event = batch.events[i];
    if (!IsUnknown(fan_out, event)) continue;
    event.error_class = "discarded";
    event.DeadLetter("source_unknown", "the source is not in the workspace any more");
  }
}

}  // namespace millrace::processor
