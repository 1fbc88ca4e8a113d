#include "libs/event_log/local/quota.h"

#include <catch2/catch.hpp>

namespace millrace::event_log::local {
namespace {

constexpr uint64_t kMiB = 1 << 20;

TEST_CASE("what moves events on goes farther into quota and disk than new ones", "[local_log]") {
  struct Case {
    const char* name;
    Quota::Options options;
    uint64_t disk;
    uint64_t limits[4];  // by Room
  };
  const auto c = GENERATE(values<Case>({
      {"a small quota", {64 * kMiB, kMiB, 0}, 1000 * kMiB, {58 * kMiB, 62 * kMiB, 64 * kMiB}},
      {"a large one keeps so many segments",
       {32768 * kMiB, 64 * kMiB, 0},
       INT64_MAX,
       {31744 * kMiB, 32256 * kMiB, 32768 * kMiB}},
      {"the least are two segments",
       {16 * kMiB, kMiB, 0},
       INT64_MAX,
       {12 * kMiB, 14 * kMiB, 16 * kMiB}},
      {"a disk that is smaller",
       {640 * kMiB, kMiB, 8 * kMiB},
       20 * kMiB,
       {12 * kMiB, 16 * kMiB, 18 * kMiB}},
      {"a disk that is full", {640 * kMiB, kMiB, 8 * kMiB}, 4 * kMiB, {0, 0, 2 * kMiB}},
  }));
  CAPTURE(c.name);
  Quota quota(c.options);
  quota.SetDisk(c.disk);
  CHECK(quota.LimitOf(Room::kNew) == c.limits[0]);
  CHECK(quota.LimitOf(Room::kOnward) == c.limits[1]);
  CHECK(quota.LimitOf(Room::kClosing) == c.limits[2]);
}

TEST_CASE("a log is full for each kind of write once that has come to its limit", "[local_log]") {
  Quota quota({64 * kMiB, kMiB, 0});
  quota.NoteUse(58 * kMiB);
  CHECK(!quota.Pressed());
  quota.NoteUse(60 * kMiB);
  CHECK(quota.Full(Room::kNew));
  CHECK(!quota.Full(Room::kOnward));
  CHECK(quota.Refusal().code() == StatusCode::kResourceExhausted);
  quota.MarkFull(Room::kAny);
  CHECK(quota.Full(Room::kClosing));
  CHECK(!quota.Full(Room::kAny));
  quota.NoteRoom(60 * kMiB, kMiB, false);
  CHECK(quota.Full(Room::kNew));
  CHECK(!quota.Full(Room::kOnward));
  quota.NoteRoom(50 * kMiB, kMiB, false);
  CHECK(!quota.Pressed());
}

}  // namespace
}  // namespace millrace::event_log::local
