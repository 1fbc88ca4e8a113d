#include "libs/base/backoff.h"

#include <sys/random.h>

#include <algorithm>
#include <cmath>

namespace millrace {

std::chrono::milliseconds BackoffDelay(const BackoffPolicy& policy, uint32_t attempt,
                                       uint64_t random) {
  const double exponent = static_cast<double>(std::max(attempt, 1u) - 1);
  const double step = std::min(static_cast<double>(policy.maximum.count()),
                               static_cast<double>(policy.initial.count()) *
                                   std::pow(policy.multiplier, std::min(exponent, 64.0)));
  const double share = static_cast<double>(random >> 11) / static_cast<double>(1ull << 53);
  return std::chrono::milliseconds(static_cast<int64_t>(step / 2 + step / 2 * share));
}

uint64_t FastRandom() {
  thread_local uint64_t state = [] {
    uint64_t seed = 0;
    while (getrandom(&seed, sizeof seed, 0) != sizeof seed) {
    }
    return seed;
  }();
  state += 0x9e3779b97f4a7c15ull;  // splitmix64
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

}  // namespace millrace
