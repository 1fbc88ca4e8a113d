#include "libs/delivery/rate_limit.h"

#include <catch2/catch.hpp>

#include <atomic>
#include <thread>
#include <vector>

namespace millrace::delivery {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const MonotonicTime kStart(std::chrono::hours(1));

int PassedIn(RateLimit& limit, MonotonicTime from, milliseconds time) {
  int passed = 0;
  for (milliseconds at{0}; at < time; at += milliseconds(1)) {
    while (limit.Take(from + at)) ++passed;
  }
  return passed;
}

TEST_CASE("RateLimit holds its rate from the first second on", "[rate]") {
  const auto rate = GENERATE(1.0, 10.0, 500.0);
  CAPTURE(rate);
  RateLimit limit(rate);
  CHECK(PassedIn(limit, kStart, seconds(1)) <= rate * 1.2 + 1);
  const int later = PassedIn(limit, kStart + seconds(1), seconds(10));
  CHECK(later >= rate * 10 - 1);
  CHECK(later <= rate * 10 + 1);
}

TEST_CASE("RateLimit says when the next may pass", "[rate]") {
  RateLimit limit(4);
  REQUIRE(limit.Take(kStart));
  CHECK_FALSE(limit.Take(kStart));
  const MonotonicTime next = limit.Next(kStart);
  CHECK(next > kStart + milliseconds(249));
  CHECK(next < kStart + milliseconds(251));
  CHECK(limit.Take(next));
}

TEST_CASE("a limit without a rate lets all pass", "[rate]") {
  RateLimit limit;
  for (int i = 0; i < 1000; ++i) REQUIRE(limit.Take(kStart));
  CHECK(limit.Next(kStart) == kStart);
}

TEST_CASE("setting the same rate again gives nothing away", "[rate]") {
  RateLimit limit(2);
  REQUIRE(limit.Take(kStart));
  limit.SetRate(2);
  CHECK_FALSE(limit.Take(kStart));
  limit.SetRate(0);
  CHECK(limit.Take(kStart));
}

TEST_CASE("several workers share one limit", "[rate]") {
  RateLimit limit(1000);
  std::atomic<int> passed{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < 4; ++i) {
    workers.emplace_back([&] { passed += PassedIn(limit, kStart, seconds(2)); });
  }
  for (std::thread& worker : workers) worker.join();
  CHECK(passed >= 1990);
  CHECK(passed <= 2201);
}

}  // namespace
}  // namespace millrace::delivery
