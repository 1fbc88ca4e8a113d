#pragma once

#include <cstddef>
#include <vector>

#include "services/processor/event_batch.h"
#include "services/processor/fan_out.h"

namespace millrace::processor {

/// Events of a poll that one transaction moves: those from `begin` to before `end`.
struct Part {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
};

/// About how many bytes the records have that `event` becomes: one for each open connection of its
/// source. What transformations add to it is not known here.
size_t EstimateOutputBytes(const Event& event, const FanOut& fan_out);

/// Cuts the events, in their order, so that what each part becomes has about `max_bytes` at most;
/// each part has one event at least.
std::vector<Part> PartsOf(const EventBatch& batch, const FanOut& fan_out, size_t max_bytes);

/// Whether the event would go on but for its source, which is not in the workspace.
bool IsUnknown(const FanOut& fan_out, const Event& event);
/// Dead-letters such events of the part.
void RefuseUnknown(const FanOut& fan_out, Part part, EventBatch& batch);

}  // namespace millrace::processor
