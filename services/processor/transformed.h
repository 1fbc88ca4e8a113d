#pragma once

#include <vector>

#include "libs/transformation/transformer.h"
#include "services/processor/chain.h"
#include "services/processor/event_batch.h"

namespace millrace::processor {

/// Marks `event` as failed at `step`, which comes after `steps_before` others of its chain.
void FailAtStep(const ChainStep& step, size_t steps_before, const transformation::Output& output,
                uint32_t attempts, Event& event);

/// Appends to `results` what `output` makes of `event`. `made`: how many events there are of the
/// same record by now.
void ApplyOutput(const ChainStep& step, size_t steps_before, transformation::Output output,
                 uint32_t attempts, size_t made, Event event, std::vector<Event>& results);

/// Gives the events from `begin` on, all made of one record, distinct ids and places.
void MakeDistinct(std::vector<Event>& events, size_t begin);

}  // namespace millrace::processor
