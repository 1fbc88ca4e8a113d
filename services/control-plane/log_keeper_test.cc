#include "services/control-plane/log_keeper.h"

#include <catch2/catch.hpp>

#include <future>

#include "libs/base/failpoint.h"
#include "libs/event_log/local/test_folder.h"
#include "libs/event_log/local/test_log.h"
#include "services/control-plane/log_reader.h"

namespace millrace::control_plane {
namespace {

using accounting::v1::Counters;
using std::chrono::seconds;

struct Fixture {
  Fixture() {
    OpenLog("log");
    OpenStore("store.db");
  }
  void OpenLog(const std::string& name) {
    log = *event_log::OpenLocalLog({.path = folder.path() + "/" + name, .clock = &clock});
    for (const auto topic :
         {event_log::kCountersTopic, event_log::kDeadLetterTopic, event_log::kReportTopic}) {
      REQUIRE(log->EnsureTopic(std::string(topic), {}).ok());
    }
  }
  void OpenStore(const std::string& name) { store = *Store::Open(folder.path() + "/" + name); }

  void Append(std::string_view topic, const std::string& value) {
    const auto appender = log->NewAppender();
    const event_log::TopicRecord record{.topic = topic, .record = {.value = value}};
    std::promise<Status> done;
    (*appender)->Append({&record, 1}, [&done](Status status) { done.set_value(status); });
    REQUIRE(done.get_future().get().ok());
  }
  void Count(int64_t count) {
    Counters record;
    record.set_stage("router");
    auto* one = record.add_counts();
    one->set_source_id("s");
    one->set_destination_id("d");
    one->set_fate(accounting::v1::DELIVERED);
    one->set_count(count);
    Append(event_log::kCountersTopic, record.SerializeAsString());
  }
  /// `at_us` 0: now.
  void Letter(const std::string& id, int64_t at_us = 0, size_t bytes = 0,
              const std::string& destination = "d") {
    delivery::v1::DeadLetter letter;
    letter.set_id(id);
    letter.set_source_id("s");
    letter.set_destination_id(destination);
    letter.set_failed_at_us(at_us == 0 ? clock.NowMicros() : at_us);
    letter.set_event(RandomText(bytes));
    Append(event_log::kDeadLetterTopic, letter.SerializeAsString());
  }
  static std::string RandomText(size_t bytes) {
    std::string text(bytes, ' ');
    uint64_t state = 7;
    for (char& c : text) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      c = static_cast<char>(state >> 56);
    }
    return text;
  }
  /// Reads all there is into the store, and tidies `times` after `wait` each.
  void Read(seconds wait = seconds(600), int times = 1) {
    LogReader reader(*log, *store, clock, limits);
    reader.Start();
    REQUIRE(reader.CatchUp(seconds(10)));
    reader.Stop();
    LogKeeper keeper(*log, *store, clock, limits);
    for (const auto topic : {event_log::kCountersTopic, event_log::kDeadLetterTopic}) {
      const int64_t next = *store->Position(std::string(topic), 0);
      keeper.Taken({std::string(topic), 0}, next, 1, 1);
    }
    for (int i = 0; i < times; ++i) {
      clock.Advance(wait);
      REQUIRE(keeper.Tidy().ok());
    }
  }
  int64_t Sum() {
    int64_t sum = 0;
    const auto rows = store->Counts();
    for (const CountRow& row : *rows) sum += row.count;
    return sum;
  }
  event_log::PartitionInfo Info(std::string_view topic) {
    return log->Describe(std::string(topic))->at(0);
  }

  event_log::TestFolder folder;
  event_log::SharedClock clock;
  DeadLetterLimits limits;
  std::unique_ptr<event_log::EventLog> log;
  std::unique_ptr<Store> store;
};

TEST_CASE("what the store has taken goes from the log, whatever nobody reads as a group",
          "[log-keeper]") {
  Fixture f;
  for (int i = 0; i < 100; ++i) f.Count(1);
  f.Letter("l1");
  f.Read();
  CHECK(f.Sum() == 100);
  CHECK(f.Info(event_log::kCountersTopic).begin_offset == 100);
  CHECK(f.Info(event_log::kDeadLetterTopic).begin_offset == 1);
  // The snapshot itself counts nothing, and costs no further one.
  f.Read();
  CHECK(f.Sum() == 100);
}

TEST_CASE("a store that is made anew has all counts from the snapshot and what came after it",
          "[log-keeper]") {
  Fixture f;
  f.Count(5);
  f.Count(7);
  f.Read();
  f.Count(11);
  f.OpenStore("new.db");
  f.Read();
  CHECK(f.Sum() == 23);
}

TEST_CASE("a store that was restored from a backup takes the counts it lacks from the snapshot",
          "[log-keeper]") {
  Fixture f;
  f.Count(5);
  f.OpenStore("backup.db");
  f.Read();  // the backup has the first record
  f.OpenStore("live.db");
  f.Count(7);
  f.Read();
  f.Count(1);
  f.Read();
  f.OpenStore("backup.db");
  f.Read();
  CHECK(f.Sum() == 13);
}

TEST_CASE("a snapshot that was written and not followed by its trim doubles nothing",
          "[log-keeper]") {
  Fixture f;
  f.Count(5);
  REQUIRE(ArmFailpoints("control_plane.after_snapshot:1:error").ok());
  LogReader reader(*f.log, *f.store, f.clock, f.limits);
  reader.Start();
  REQUIRE(reader.CatchUp(seconds(10)));
  reader.Stop();
  LogKeeper keeper(*f.log, *f.store, f.clock, f.limits);
  keeper.Taken({std::string(event_log::kCountersTopic), 0}, 1, 1, 1);
  f.clock.Advance(seconds(600));
  CHECK_FALSE(keeper.Tidy().ok());
  REQUIRE(ArmFailpoints("").ok());
  CHECK(f.Info(event_log::kCountersTopic).begin_offset == 0);
  f.OpenStore("new.db");
  f.Read();
  CHECK(f.Sum() == 5);
}

TEST_CASE("a large snapshot is written in parts that any log takes", "[log-keeper]") {
  Fixture f;
  Counters record;
  record.set_stage("processor");
  for (int i = 0; i < 20'000; ++i) {
    auto* one = record.add_counts();
    one->set_source_id("a-source-with-a-name-" + std::to_string(i));
    one->set_fate(accounting::v1::ACCEPTED);
    one->set_count(1);
  }
  f.Append(event_log::kCountersTopic, record.SerializeAsString());
  f.Read();
  CHECK(f.Info(event_log::kCountersTopic).begin_offset == 1);
  CHECK(f.Info(event_log::kCountersTopic).end_offset > 3);
  f.OpenStore("new.db");
  f.Read();
  CHECK(f.Sum() == 20'000);
}

TEST_CASE("dead letters are bounded by age, by number and by bytes, and stay counted",
          "[log-keeper]") {
  Fixture f;
  SECTION("by age") {
    f.limits.max_age_us = 1'000'000;
    f.Letter("old", f.clock.NowMicros());
    f.Letter("new", f.clock.NowMicros() + 600'000'000);
    f.Read(seconds(600));
    REQUIRE(f.store->DeadLetters("", {}, 10)->size() == 1);
    CHECK(f.store->DeadLetters("", {}, 10)->at(0).letter.id() == "new");
    CHECK(f.store->SumsOfDeadLetters()->purged == 1);
  }
  SECTION("by number, of each destination") {
    f.limits.max_count = 3;
    for (int i = 0; i < 8; ++i) f.Letter("d" + std::to_string(i), f.clock.NowMicros() + i);
    f.Letter("e", f.clock.NowMicros(), 0, "other");
    f.Read(seconds(1), 3);
    const auto letters = *f.store->DeadLetters("", {}, 10);
    REQUIRE(letters.size() == 4);
    CHECK(letters[0].letter.id() == "d7");
    CHECK(f.store->DeadLetters("other", {}, 10)->size() == 1);
    CHECK(f.store->SumsOfDeadLetters()->purged == 5);
  }
  SECTION("by bytes, of the one that has most") {
    f.limits.max_bytes = 50'000;
    for (int i = 0; i < 20; ++i) f.Letter("d" + std::to_string(i), f.clock.NowMicros() + i, 10'000);
    f.Letter("e", f.clock.NowMicros(), 1000, "other");
    f.Read(seconds(1), 30);
    CHECK(f.store->SumsOfDeadLetters()->bytes <= 50'000);
    CHECK(f.store->SumsOfDeadLetters()->bytes > 30'000);
    CHECK(f.store->DeadLetters("other", {}, 10)->size() == 1);
  }
}

TEST_CASE("a new log under an old store begins anew and hides no dead letter", "[log-keeper]") {
  Fixture f;
  f.Count(5);
  f.Letter("processor-0-0");
  f.Letter("processor-0-1");
  f.Read();
  f.OpenLog("another-log");
  f.Count(2);
  f.Letter("processor-0-0");
  f.Read();
  CHECK(f.Sum() == 2);
  CHECK(f.store->DeadLetters("", {}, 10)->size() == 3);
}

TEST_CASE("a new log under the store of a version that noted no log begins anew", "[log-keeper]") {
  Fixture f;
  f.Count(5);
  f.Count(5);
  f.Letter("processor-0-0");
  f.Read();
  f.store.reset();
  REQUIRE(
      (*Database::Open(f.folder.path() + "/store.db"))->Execute("DELETE FROM log_identity").ok());
  f.OpenStore("store.db");
  f.OpenLog("another-log");
  f.Count(2);
  f.Letter("processor-0-0");
  f.Read();
  CHECK(f.Sum() == 2);
  CHECK(f.store->DeadLetters("", {}, 10)->size() == 2);
}

TEST_CASE("a log that has lost what was read of it is read on from its end", "[log-keeper]") {
  Fixture f;
  f.Count(5);
  f.Read();
  REQUIRE(f.store->AddCounters({}, std::string(event_log::kCountersTopic), 0, 100).ok());
  LogReader reader(*f.log, *f.store, f.clock, f.limits);
  reader.Start();
  REQUIRE(reader.CatchUp(seconds(10)));
  f.Count(3);
  CHECK(reader.CatchUp(seconds(10)));
  reader.Stop();
  CHECK(f.Sum() == 8);
}

}  // namespace
}  // namespace millrace::control_plane
