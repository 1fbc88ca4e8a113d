#include "libs/delivery/age_clock.h"

#include <catch2/catch.hpp>

#include <limits>

namespace millrace::delivery {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

constexpr int64_t kWall = 1'767'225'600'000'000;
constexpr int64_t kHour = 3'600'000'000;
const MonotonicTime kStart(hours(5));

TEST_CASE("an event ages by the wall clock from before the start, then by the monotonic one",
          "[age]") {
  const AgeClock clock(kWall, kStart);
  const MonotonicTime now = kStart + seconds(10);
  const MonotonicTime born = clock.BornAt(kWall - 2 * kHour, now);
  CHECK(now - born == hours(2) + seconds(10));
  CHECK(now + hours(1) - born == hours(3) + seconds(10));
  CHECK(clock.WallMicros(now) == kWall + 10'000'000);
}

TEST_CASE("a wall clock that jumps by days while the process runs changes no age", "[age]") {
  const AgeClock clock(kWall, kStart);
  const MonotonicTime now = kStart + hours(1);
  SECTION("an event stamped before the jump") {
    CHECK(now - clock.BornAt(kWall, now) == hours(1));
  }
  SECTION("an event stamped four days ahead ages from when it is read") {
    const MonotonicTime born = clock.BornAt(kWall + 96 * kHour, now);
    CHECK(born == now);
    CHECK(now + hours(72) - born == hours(72));
  }
}

TEST_CASE("any stamp gives a time that can be compared", "[age]") {
  const AgeClock clock(kWall, kStart);
  const auto stamp = GENERATE(values<int64_t>(
      {0, -1, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}));
  CAPTURE(stamp);
  CHECK(clock.BornAt(stamp, kStart) == kStart);
  CHECK(kStart - clock.BornAt(1, kStart) >= hours(24 * 365 * 49));
}

}  // namespace
}  // namespace millrace::delivery
