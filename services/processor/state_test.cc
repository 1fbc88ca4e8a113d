#include <catch2/catch.hpp>

#include <filesystem>
#include <future>
#include <memory>
#include <string>

#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"
#include "services/processor/processor_fixture.h"
#include "services/processor/state_stage.h"

namespace millrace::processor {
namespace {

using std::chrono::seconds;
using transformation::StateScope;

struct StateFixture {
  StateFixture() {
    log = *event_log::OpenLocalLog({.path = folder.path() + "/log"});
    REQUIRE(log->EnsureTopic(std::string(event_log::kStateTopic), {.partitions = 2}).ok());
    appender = *log->NewAppender();
    Restart();
  }
  void Restart(const std::string& stores = "a") {
    stage.reset();
    stage =
        std::make_unique<StateStage>(StateStage::Options{.folder = folder.path() + "/" + stores,
                                                         .quota_bytes = 100'000,
                                                         .longest_s = 3600,
                                                         .changes_per_checkpoint = per_checkpoint},
                                     *log, clock);
  }
  StateScope& Scope(const std::string& workspace = "w1", int32_t partition = 0) {
    return **stage->Scope(workspace, partition);
  }
  /// What a call of a script does around its own.
  template <typename Body>
  auto Call(Body body, bool keep = true) {
    Scope().Begin();
    auto result = body(Scope());
    Scope().End(keep);
    return result;
  }
  Status Set(const std::string& key, const std::string& json, seconds ttl = seconds(0)) {
    return Call([&](StateScope& scope) { return scope.Set(key, json, ttl); });
  }
  std::optional<std::string> Get(const std::string& key) { return *Scope().Get(key); }
  void Commit() {
    const auto records = *stage->Changelog();
    for (const auto& [partition, packed] : records) {
      const event_log::TopicRecord record{.topic = event_log::kStateTopic,
                                          .record = {.value = packed, .partition = partition}};
      std::promise<Status> done;
      appender->Append({&record, 1}, [&done](Status status) { done.set_value(std::move(status)); });
      REQUIRE(done.get_future().get().ok());
    }
    if (lose_commit) return;
    REQUIRE(stage->Committed().ok());
    stage->BeginBatch();
  }

  event_log::TestFolder folder;
  FakeClock clock;
  std::unique_ptr<event_log::EventLog> log;
  std::unique_ptr<event_log::Appender> appender;
  size_t per_checkpoint = 50'000;
  std::unique_ptr<StateStage> stage;
  bool lose_commit = false;
};

TEST_CASE("A batch reads its own writes, and nothing of one that was not committed", "[state]") {
  StateFixture f;
  CHECK(f.Get("a") == std::nullopt);
  REQUIRE(f.Set("a", "1").ok());
  CHECK(f.Get("a") == "1");
  f.stage->BeginBatch();
  CHECK(f.Get("a") == std::nullopt);
  REQUIRE(f.Set("a", "2").ok());
  f.Commit();
  CHECK(f.Get("a") == "2");
  REQUIRE(f.Call([](StateScope& scope) { return scope.Delete("a"); }).ok());
  CHECK(f.Get("a") == std::nullopt);
  f.stage->BeginBatch();
  CHECK(f.Get("a") == "2");
}

TEST_CASE("What a call wrote that failed is taken back", "[state]") {
  StateFixture f;
  REQUIRE(f.Set("a", "1").ok());
  CHECK(f.Call([](StateScope& scope) { return scope.Set("a", "2", seconds(0)); }, false).ok());
  CHECK(f.Get("a") == "1");
}

TEST_CASE("Workspaces and partitions have each their own", "[state]") {
  StateFixture f;
  REQUIRE(f.Set("a", "1").ok());
  f.Commit();
  CHECK(*f.Scope("w2").Get("a") == std::nullopt);
  CHECK(*f.Scope("w1", 1).Get("a") == std::nullopt);
}

TEST_CASE("Numbers add up", "[state]") {
  StateFixture f;
  const auto add = [](StateScope& scope) { return scope.Increment("n", 1.5, seconds(0)); };
  CHECK(*f.Call(add) == 1.5);
  f.Commit();
  CHECK(*f.Call(add) == 3);
  CHECK(f.Get("n") == "3");
  REQUIRE(f.Set("n", R"("text")").ok());
  CHECK(f.Call(add).status().code() == StatusCode::kInvalidArgument);
  REQUIRE(f.Set("n", "1.7e308").ok());
  CHECK(f.Call([](StateScope& scope) { return scope.Increment("n", 1.7e308, seconds(0)); })
            .status()
            .code() == StatusCode::kInvalidArgument);
}

TEST_CASE("A value expires", "[state]") {
  StateFixture f;
  REQUIRE(f.Set("short", "1", seconds(10)).ok());
  REQUIRE(f.Set("longest", "1").ok());
  REQUIRE(f.Set("too long", "1", seconds(1'000'000)).ok());
  f.Commit();
  f.clock.Advance(seconds(9));
  CHECK(f.Get("short") == "1");
  f.clock.Advance(seconds(1));
  CHECK(f.Get("short") == std::nullopt);
  CHECK(f.Get("longest") == "1");
  f.clock.Advance(seconds(3590));
  CHECK(f.Get("longest") == std::nullopt);
  CHECK(f.Get("too long") == std::nullopt);
}

TEST_CASE("Keys, values and the whole have limits", "[state]") {
  StateFixture f;
  CHECK(f.Set(std::string(512, 'k'), "1").ok());
  CHECK(f.Set(std::string(513, 'k'), "1").code() == StatusCode::kInvalidArgument);
  CHECK(f.Set("k", std::string((64 << 10) + 1, '1')).code() == StatusCode::kInvalidArgument);
  REQUIRE(f.Set("a", std::string(60'000, '1'), seconds(60)).ok());
  CHECK(f.Set("b", std::string(60'000, '1')).code() == StatusCode::kResourceExhausted);
  CHECK(f.Set("a", std::string(59'000, '1'), seconds(60)).ok());  // in its own place
  f.Commit();
  CHECK(f.Set("b", std::string(60'000, '1')).code() == StatusCode::kResourceExhausted);
  f.clock.Advance(seconds(61));  // what has expired does not count
  CHECK(f.Set("b", std::string(60'000, '1')).ok());
}

TEST_CASE("State survives", "[state]") {
  StateFixture f;
  f.per_checkpoint = GENERATE(1u, 3u, 50'000u);
  f.Restart();
  for (int i = 0; i < 5; ++i) {
    REQUIRE(f.Set("k" + std::to_string(i), std::to_string(i)).ok());
    f.Commit();
  }
  REQUIRE(f.Call([](StateScope& scope) { return scope.Delete("k0"); }).ok());
  REQUIRE(f.Set("k1", "10").ok());
  f.Commit();
  const auto check = [&f] {
    CHECK(f.Get("k0") == std::nullopt);
    CHECK(f.Get("k1") == "10");
    CHECK(f.Get("k4") == "4");
  };
  SECTION("a restart") {
    f.Restart();
  }
  SECTION("another folder") {
    f.Restart("b");
  }
  SECTION("the loss of the folder") {
    f.stage.reset();
    std::filesystem::remove_all(f.folder.path() + "/a");
    f.Restart();
  }
  SECTION("a commit that was never told") {
    f.lose_commit = true;
    REQUIRE(f.Set("k1", "11").ok());
    f.Commit();
    f.Restart();
    CHECK(f.Get("k1") == "11");
    return;
  }
  check();
}

TEST_CASE("Large changes are split over records", "[state]") {
  StateFixture f;
  StateChanges changes;
  for (int i = 0; i < 50; ++i) {
    changes[StateKey("w1", std::to_string(i))] = {.json = std::string(60'000, 'x'),
                                                  .ends_us = i + 1};
  }
  changes[StateKey("w1", "gone")] = {};
  const auto records = PackStateChanges(changes);
  CHECK(records.size() > 3);
  StateChanges read;
  for (const std::string& record : records) {
    CHECK(record.size() < 800'000);
    REQUIRE(UnpackStateChanges(record, &read).ok());
  }
  REQUIRE(read.size() == changes.size());
  CHECK(read[StateKey("w1", "7")].ends_us == 8);
  CHECK(!read[StateKey("w1", "gone")].json.has_value());
  StateChanges broken;
  CHECK(!UnpackStateChanges(records[0].substr(0, 100), &broken).ok());
}

TEST_CASE("What a shadow writes is lost, and it does not see what came later", "[state]") {
  StateFixture f;
  REQUIRE(f.Set("a", "1").ok());
  f.Commit();
  auto shadow = *f.stage->ShadowScope("w1", 0);
  REQUIRE(f.Set("a", "2").ok());
  f.Commit();
  CHECK(*shadow->Get("a") == "1");
  shadow->Begin();
  REQUIRE(shadow->Set("a", "3", seconds(0)).ok());
  shadow->End(true);
  CHECK(*shadow->Get("a") == "3");
  CHECK(f.Get("a") == "2");
}

TEST_CASE("Expired values leave the store", "[state]") {
  event_log::TestFolder folder;
  const auto store = *StateStore::Open({.folder = folder.path() + "/s", .longest_s = 3600});
  StateChanges changes;
  changes[StateKey("w1", "old")] = {.json = "1", .ends_us = 1'000};
  changes[StateKey("w1", "new")] = {.json = "1", .ends_us = 9'000};
  REQUIRE(store->Apply(changes, 500, -1).ok());
  REQUIRE(store->rocks().Compact().ok());
  CHECK(store->Get(StateKey("w1", "old"))->json == "1");
  REQUIRE(store->Apply({}, 2'000, -1).ok());
  REQUIRE(store->rocks().Compact().ok());
  CHECK(store->Get(StateKey("w1", "old"))->json == std::nullopt);
  CHECK(store->Get(StateKey("w1", "new"))->json == "1");
  CHECK(*store->Count("w1", 2'000) == 4);
}

TEST_CASE("Counts of a script are exact, whatever fails and starts again", "[state]") {
  const std::string failpoint =
      GENERATE("", "processor.after_transform:2:error", "processor.before_commit:2:error",
               "processor.after_commit:2:error");
  CAPTURE(failpoint);
  auto workspace = TestWorkspace();
  AddTransformation(*workspace, "t1", "count n");
  workspace->mutable_destinations(0)->add_transformations()->set_transformation_id("t1");
  Fixture f(workspace);
  f.Send("s1", "m0");
  if (!failpoint.empty()) REQUIRE(ArmFailpoints(failpoint).ok());
  f.Start();
  f.WaitUntilCounted();
  for (int i = 1; i < 10; ++i) f.SendAs("user-m0", "s1", "m" + std::to_string(i));
  f.WaitUntilCounted();
  f.Stop();
  for (int i = 10; i < 20; ++i) f.SendAs("user-m0", "s1", "m" + std::to_string(i));
  f.Start();
  f.WaitUntilCounted();
  f.Stop();
  const auto values = f.Values("destination.d1");
  REQUIRE(values.size() == 20);
  for (size_t i = 0; i < 20; ++i) {
    CHECK(values[i].find("\"n\":" + std::to_string(i + 1)) != std::string::npos);
  }
}

}  // namespace
}  // namespace millrace::processor
