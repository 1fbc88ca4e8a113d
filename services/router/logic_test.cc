#include <catch2/catch.hpp>

#include "services/router/keyed_window.h"
#include "services/router/retry_schedule.h"

namespace millrace::router {
namespace {

struct Item {
  std::string_view key;
  int number = 0;
  Item* next_of_key = nullptr;
};

TEST_CASE("KeyedWindow keeps the order of each key and lets others pass", "[keyed_window]") {
  KeyedWindow<Item> window;
  Item a1{"a", 1}, a2{"a", 2}, a3{"a", 3}, b1{"b", 1};
  CHECK(window.Add(&a1));
  CHECK_FALSE(window.Add(&a2));
  CHECK(window.Add(&b1));
  CHECK(window.Finish(&a1) == &a2);
  CHECK_FALSE(window.Add(&a3));
  CHECK(window.Finish(&b1) == nullptr);
  CHECK(window.keys() == 1);
  CHECK(window.Finish(&a2) == &a3);
  CHECK(window.Finish(&a3) == nullptr);
  CHECK(window.size() == 0);
  CHECK(window.keys() == 0);
}

TEST_CASE("RetrySchedule gives items in the order of their times", "[retry]") {
  RetrySchedule<int> schedule;
  const MonotonicTime start(std::chrono::hours(1));
  schedule.Add(start + std::chrono::seconds(3), 3);
  schedule.Add(start + std::chrono::seconds(1), 1);
  schedule.Add(start + std::chrono::seconds(1), 2);
  int item = 0;
  CHECK_FALSE(schedule.Take(start, &item));
  CHECK(schedule.next() == start + std::chrono::seconds(1));
  std::vector<int> taken;
  while (schedule.Take(start + std::chrono::seconds(5), &item)) taken.push_back(item);
  CHECK(taken == std::vector<int>{1, 2, 3});
  CHECK(schedule.empty());
}

TEST_CASE("TokenBucket holds its rate", "[retry]") {
  TokenBucket bucket(10);
  MonotonicTime now(std::chrono::hours(1));
  int passed = 0;
  for (int ms = 0; ms < 3000; ++ms, now += std::chrono::milliseconds(1))
    passed += bucket.Take(now) ? 1 : 0;
  CHECK(passed >= 38);
  CHECK(passed <= 40);
  CHECK(bucket.Next(now) <= now + std::chrono::milliseconds(100));
  TokenBucket open;
  CHECK(open.Take(now));
}

TEST_CASE("Retry-After is read as seconds and as a date", "[retry]") {
  struct Case {
    const char* text;
    int64_t ms;
  };
  const auto c = GENERATE(values<Case>({{"120", 120'000},
                                        {" 0 ", 0},
                                        {"Thu, 01 Jan 2026 00:00:30 GMT", 30'000},
                                        {"Thursday, 01-Jan-26 00:00:30 GMT", 30'000},
                                        {"Wed, 31 Dec 2025 23:00:00 GMT", 0},
                                        {"soon", -1},
                                        {"-5", -1},
                                        {"", -1}}));
  CAPTURE(c.text);
  CHECK(ParseRetryAfter(c.text, 1'767'225'600'000'000).count() == c.ms);
}

}  // namespace
}  // namespace millrace::router
