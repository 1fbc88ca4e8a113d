#pragma once

#include <chrono>
#include <cstdint>

namespace millrace {

struct BackoffPolicy {
  std::chrono::milliseconds initial{1000};
  std::chrono::milliseconds maximum{300'000};
  double multiplier = 2.0;
};

/// The wait before attempt `attempt` + 1 (`attempt` counts from 1): "equal jitter", between half
/// and the whole of the exponential step. `random` is 64 random bits.
std::chrono::milliseconds BackoffDelay(const BackoffPolicy& policy, uint32_t attempt,
                                       uint64_t random);

/// Fast, not cryptographic; for jitter and sampling. Per thread.
uint64_t FastRandom();

}  // namespace millrace
