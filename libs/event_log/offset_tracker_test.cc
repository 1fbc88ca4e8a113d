#include "libs/event_log/offset_tracker.h"

#include <catch2/catch.hpp>

#include <map>
#include <random>
#include <set>

namespace millrace::event_log {
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

TEST_CASE("OffsetTracker holds one stuck record before very many finished ones",
          "[offset_tracker]") {
  OffsetTracker tracker(0, "");
  AddOpen(tracker, 0);
  for (int64_t offset = 1; offset < 300'000; ++offset) tracker.Finish(AddOpen(tracker, offset));
  CHECK(tracker.RoomForMore());
  CHECK(tracker.Metadata().size() < 20);
  CHECK(tracker.unfinished() == 1);  // of which alone it keeps a note
}

TEST_CASE("OffsetTracker keeps over two restarts what was not read again between them",
          "[offset_tracker]") {
  OffsetTracker tracker(0, "");
  for (int64_t offset = 0; offset < 100; ++offset) AddOpen(tracker, offset);
  for (const uint64_t offset : {10, 60, 61, 90}) tracker.Finish(offset);
  OffsetTracker once(0, tracker.Metadata());
  for (int64_t offset = 0; offset < 5; ++offset) AddOpen(once, offset);
  once.Finish(3);
  OffsetTracker twice(0, once.Metadata());
  for (const int64_t offset : {3, 10, 60, 61, 90}) CHECK(twice.WasFinished(offset));
  for (const int64_t offset : {0, 4, 5, 9, 11, 62, 99}) CHECK_FALSE(twice.WasFinished(offset));
}

TEST_CASE("OffsetTracker leaves what the committer noted behind its own note", "[offset_tracker]") {
  OffsetTracker tracker(0, "");
  AddOpen(tracker, 0);
  tracker.Finish(AddOpen(tracker, 1));
  OffsetTracker restarted(0, tracker.Metadata() + ";parked=7");
  CHECK(restarted.WasFinished(1));
  CHECK_FALSE(restarted.WasFinished(0));
  CHECK_FALSE(OffsetTracker(0, ";parked=7").WasFinished(1));
}

TEST_CASE("OffsetTracker survives metadata of others", "[offset_tracker]") {
  const auto* const metadata =
      GENERATE("", "r", "rA", "b", "zzz", "r!!", "r/////////////w==", "bAAAA");
  OffsetTracker tracker(7, metadata);
  AddOpen(tracker, 7);
  CHECK(tracker.committed() == 7);
}

}  // namespace
}  // namespace millrace::event_log
