#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>

#include "services/router/keyed_window.h"
#include "services/router/offset_tracker.h"
#include "services/router/retry_schedule.h"

namespace millrace::router {
namespace {

uint64_t AddOpen(OffsetTracker& tracker, int64_t offset) {
  bool done = false;
  const uint64_t ticket = tracker.Add(offset, &done);
  CHECK_FALSE(done);
  return ticket;
}

TEST_CASE("OffsetTracker commits up to the lowest unfinished record", "[offset_tracker]") {
  OffsetTracker tracker(-1, "");
  CHECK(tracker.committed() == -1);
  const uint64_t a = AddOpen(tracker, 10);
  const uint64_t b = AddOpen(tracker, 11);
  const uint64_t c = AddOpen(tracker, 15);  // the log skipped some
  CHECK(tracker.committed() == 10);
  CHECK_FALSE(tracker.changed());
  tracker.Finish(b);
  CHECK(tracker.changed());
  CHECK(tracker.committed() == 10);
  tracker.Finish(a);
  CHECK(tracker.committed() == 15);
  CHECK(tracker.Metadata().empty());
  tracker.Finish(c);
  CHECK(tracker.committed() == 16);
  CHECK(tracker.unfinished() == 0);
}

TEST_CASE("OffsetTracker remembers what finished beyond the commit", "[offset_tracker]") {
  std::mt19937_64 random(GENERATE(1, 2, 3, 4, 5));
  const int64_t count = GENERATE(5, 200, 15'000);
  const double share = GENERATE(0.01, 0.5, 0.99);
  OffsetTracker tracker(100, "");
  std::map<int64_t, uint64_t> open;
  int64_t offset = 100;
  for (int64_t i = 0; i < count; ++i, offset += 1 + static_cast<int64_t>(random() % 17 == 0)) {
    open[offset] = AddOpen(tracker, offset);
  }
  std::set<int64_t> finished;
  std::uniform_real_distribution<double> draw(0, 1);
  for (const auto& [at, ticket] : open) {
    if (at == 100 || draw(random) > share) continue;
    tracker.Finish(ticket);
    finished.insert(at);
  }
  const std::string metadata = tracker.Metadata();
  CHECK(metadata.size() <= OffsetTracker::kMaxMetadataBytes);
  OffsetTracker restarted(tracker.committed(), metadata);
  bool same = true;
  for (const auto& [at, ticket] : open) {
    bool done = false;
    restarted.Add(at, &done);
    same = same && done == finished.contains(at);
  }
  CHECK(same);
  CHECK(restarted.committed() == tracker.committed());
  CHECK(restarted.Metadata().size() <= OffsetTracker::kMaxMetadataBytes);
}

TEST_CASE("OffsetTracker stops growing before its metadata overflows", "[offset_tracker]") {
  OffsetTracker tracker(0, "");
  AddOpen(tracker, 0);
  int64_t offset = 1;
  for (; tracker.RoomForMore() && offset < 100'000; ++offset) {
    const uint64_t ticket = AddOpen(tracker, offset);
    if (offset % 2 == 0) tracker.Finish(ticket);  // the worst mix
  }
  CHECK(offset < 100'000);
  for (int i = 0; i < 1000; ++i, ++offset) {  // what was already on its way
    const uint64_t ticket = AddOpen(tracker, offset);
    if (offset % 2 == 0) tracker.Finish(ticket);
  }
  const std::string metadata = tracker.Metadata();
  CHECK(metadata.size() <= OffsetTracker::kMaxMetadataBytes);
  OffsetTracker restarted(0, metadata);
  bool same = true;
  for (int64_t at = 0; at < offset; ++at) {
    bool done = false;
    restarted.Add(at, &done);
    same = same && done == (at != 0 && at % 2 == 0);
  }
  CHECK(same);
}

TEST_CASE("OffsetTracker holds one stuck record before very many finished ones", "[offset_tracker]") {
  OffsetTracker tracker(0, "");
  AddOpen(tracker, 0);
  for (int64_t offset = 1; offset < 300'000; ++offset) tracker.Finish(AddOpen(tracker, offset));
  CHECK(tracker.RoomForMore());
  CHECK(tracker.Metadata().size() < 20);
}

TEST_CASE("OffsetTracker survives metadata of others", "[offset_tracker]") {
  const auto* const metadata = GENERATE("", "r", "rA", "b", "zzz", "r!!", "r/////////////w==", "bAAAA");
  OffsetTracker tracker(7, metadata);
  AddOpen(tracker, 7);
  CHECK(tracker.committed() == 7);
}

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
  for (int ms = 0; ms < 3000; ++ms, now += std::chrono::milliseconds(1)) passed += bucket.Take(now) ? 1 : 0;
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
