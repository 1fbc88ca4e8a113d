#pragma once

#include <map>
#include <memory>

#include "libs/base/clock.h"
#include "libs/transformation/state.h"

namespace millrace::transformation {

/// State that is gone with the process: for `millrace transform` and tests. Keeps what `clock` does
/// not say is over; holds the same limits on keys and values as the processor's. `clock` outlives
/// it.
std::unique_ptr<StateScope> MakeMemoryState(const Clock& clock);

}  // namespace millrace::transformation
