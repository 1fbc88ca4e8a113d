#include "libs/base/backoff.h"

#include <catch2/catch.hpp>

namespace millrace {

TEST_CASE("BackoffDelay doubles, jitters within half a step, and is capped", "[backoff]") {
  using std::chrono::milliseconds;
  const BackoffPolicy policy{.initial = milliseconds(100), .maximum = milliseconds(1000)};
  CHECK(BackoffDelay(policy, 1, 0) == milliseconds(50));
  CHECK(BackoffDelay(policy, 1, ~0ull) <= milliseconds(100));
  CHECK(BackoffDelay(policy, 2, 0) == milliseconds(100));
  CHECK(BackoffDelay(policy, 3, 0) == milliseconds(200));
  CHECK(BackoffDelay(policy, 40, 0) == milliseconds(500));
  CHECK(BackoffDelay(policy, 4'000'000, ~0ull) <= milliseconds(1000));
}

}  // namespace millrace
