#include "services/processor/dedup_store.h"

#include <catch2/catch.hpp>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>
#include <sys/resource.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "libs/event_log/local/test_folder.h"

namespace millrace::processor {
namespace {

constexpr int64_t kHour = 3'600'000'000;
constexpr int64_t kStart = 1'767'225'600'000'000;

DedupEntry EntryOf(int64_t number, int64_t seen_at_us) {
  return {.key = MakeDedupKey("w", "s", std::to_string(number)),
          .offset = number,
          .seen_at_us = seen_at_us};
}

bool Knows(const DedupStore& store, int64_t number) {
  return (*store.Find({EntryOf(number, 0).key}))[0].offset == number;
}

struct Fixture {
  void Open(int64_t window_us = kHour) {
    store.reset();
    store = *DedupStore::Open({.folder = folder.path() + "/0",
                               .window_us = window_us,
                               .max_bytes = max_bytes,
                               .write_ahead = true});
  }
  event_log::TestFolder folder;
  uint64_t max_bytes = 0;
  std::unique_ptr<DedupStore> store;
};

TEST_CASE("Ids are known for the window, and go soon after it", "[dedup]") {
  Fixture f;
  f.Open();
  constexpr int64_t kStep = kHour / 20;
  for (int64_t i = 0; i < 60; ++i) {
    if (i % 7 == 0) f.Open();  // slices survive
    REQUIRE(f.store->Apply({EntryOf(i, kStart + i * kStep)}, i).ok());
    for (int64_t age = 0; age <= std::min<int64_t>(i, 20); ++age) REQUIRE(Knows(*f.store, i - age));
    if (i > 26) CHECK_FALSE(Knows(*f.store, i - 27));  // a quarter of the window later
    CHECK(f.store->CoveredUs() == kHour);
  }
  SECTION("a longer window keeps them longer") {
    f.store->WidenWindow(2 * kHour);
    for (int64_t i = 60; i < 80; ++i) {
      REQUIRE(f.store->Apply({EntryOf(i, kStart + i * kStep)}, i).ok());
    }
    CHECK(Knows(*f.store, 41));
  }
  CHECK(f.store->rocks().changelog_offset() >= 59);
}

TEST_CASE("The newest sighting of an id counts, whatever slice has it", "[dedup]") {
  Fixture f;
  f.Open();
  DedupEntry again = EntryOf(1, kStart);
  REQUIRE(f.store->Apply({again}, 1).ok());
  again.offset = 7;
  again.seen_at_us = kStart + kHour / 2;
  REQUIRE(f.store->Apply({again}, 2).ok());
  const auto found = (*f.store->Find({EntryOf(2, 0).key, again.key}));
  CHECK(found[0].offset == -1);
  CHECK(found[1].offset == 7);
  CHECK(found[1].seen_at_us == again.seen_at_us);
}

TEST_CASE("A clock that runs ahead for a moment costs none of the window", "[dedup]") {
  Fixture f;
  f.Open();
  REQUIRE(f.store->Apply({EntryOf(1, kStart)}, 1).ok());
  REQUIRE(f.store->Apply({EntryOf(2, kStart + 1), EntryOf(3, kStart + 100 * kHour)}, 2).ok());
  REQUIRE(f.store->Apply({EntryOf(4, kStart + 2)}, 3).ok());
  CHECK(Knows(*f.store, 1));
}

TEST_CASE("A store has no more bytes than its bound: the window shortens and says so", "[dedup]") {
  Fixture f;
  f.max_bytes = 1 << 20;
  f.Open();
  constexpr int64_t kBatch = 500;
  constexpr int64_t kBatches = 400;  // some 8 MB of ids within one window
  for (int64_t i = 0; i < kBatches; ++i) {
    if (i == kBatches / 2) f.Open();
    std::vector<DedupEntry> entries;
    for (int64_t k = 0; k < kBatch; ++k) entries.push_back(EntryOf(i * kBatch + k, kStart + i));
    REQUIRE(f.store->Apply(entries, i).ok());
    REQUIRE(f.store->Bytes() <= f.max_bytes);
  }
  const int64_t covered = f.store->CoveredUs();  // a batch is a microsecond here
  CHECK(covered < kBatches / 2);
  CHECK(covered > 20);
  const int64_t last = kBatches - 1;
  CHECK(Knows(*f.store, last * kBatch));
  CHECK(Knows(*f.store, (last - covered) * kBatch));
  CHECK_FALSE(Knows(*f.store, 0));
  f.Open();
  CHECK(Knows(*f.store, last * kBatch));
  // Once the cut is older than the window, all of it is known again.
  REQUIRE(f.store->Apply({EntryOf(-5, kStart + 2 * kHour)}, kBatches).ok());
  CHECK(f.store->CoveredUs() == kHour);
}

/// While it lives, no file of this process grows beyond so many bytes.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    before_ = std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(getrlimit(RLIMIT_FSIZE, &limit_) == 0);
    const rlimit lower{.rlim_cur = bytes, .rlim_max = limit_.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &lower) == 0);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &limit_);
    std::signal(SIGXFSZ, before_);
  }

 private:
  rlimit limit_{};
  void (*before_)(int) = nullptr;
};

TEST_CASE("A limit on the size of files is a full disk: writes fail, and go on when it is gone",
          "[dedup][full-disk]") {
  Fixture f;
  f.Open();
  int64_t last = -1;
  {
    const FileSizeLimit limit(256 << 10);
    while (f.store->Apply({EntryOf(last + 1, kStart)}, -1).ok()) REQUIRE(++last < 100'000);
    // The first error is the last that is asked of it, whatever is tried.
    CHECK_FALSE(f.store->rocks().Flush().ok());
    CHECK_FALSE(f.store->rocks().Sync().ok());
    f.store.reset();
  }
  f.Open();
  CHECK(Knows(*f.store, 0));
  CHECK(Knows(*f.store, last));
  CHECK(f.store->Apply({EntryOf(-7, kStart)}, -1).ok());
  CHECK(Knows(*f.store, -7));
}

TEST_CASE("A store of the version before goes on", "[dedup]") {
  Fixture f;
  {
    const auto rocks = *Rocks::Open({.folder = f.folder.path() + "/0"});
    rocksdb::WriteBatch batch;
    for (int64_t i = 0; i < 10; ++i) {
      const DedupEntry entry = EntryOf(i, kStart);
      std::string value(reinterpret_cast<const char*>(&entry.offset), 8);
      value.append(reinterpret_cast<const char*>(&entry.seen_at_us), 8);
      batch.Put({reinterpret_cast<const char*>(entry.key.data()), 16}, value);
    }
    REQUIRE(rocks->Write(batch, 7).ok());
    REQUIRE(rocks->Flush().ok());
  }
  f.Open();
  CHECK(f.store->rocks().changelog_offset() == 7);
  CHECK(Knows(*f.store, 3));
  REQUIRE(f.store->Apply({EntryOf(20, kStart + kHour / 2)}, 8).ok());
  f.Open();
  CHECK(Knows(*f.store, 3));
  CHECK(Knows(*f.store, 20));
  REQUIRE(f.store->Apply({EntryOf(21, kStart + kHour)}, 9).ok());
  REQUIRE(f.store->Apply({EntryOf(22, kStart + 2 * kHour)}, 10).ok());
  CHECK_FALSE(Knows(*f.store, 3));  // after its window
  f.Open();
  CHECK_FALSE(Knows(*f.store, 3));
  CHECK(Knows(*f.store, 22));
  CHECK(f.store->rocks().changelog_offset() == 10);
}

}  // namespace
}  // namespace millrace::processor
