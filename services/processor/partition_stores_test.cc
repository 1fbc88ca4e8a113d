#include "services/processor/partition_stores.h"

#include <catch2/catch.hpp>

#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"
#include "libs/testing/memory_log.h"
#include "services/processor/dedup_stage.h"

namespace millrace::processor {
namespace {

constexpr int64_t kStart = 1'767'225'600'000'000;
const std::string kTopic(event_log::kDedupTopic);

/// A dedup stage over one partition of a local log.
struct Fixture {
  Fixture() { OpenLog("log"); }
  void OpenLog(const std::string& name) {
    appender.reset();
    log = *event_log::OpenLocalLog({.path = folder.path() + "/" + name});
    REQUIRE(log->EnsureTopic(kTopic, {.partitions = 1}).ok());
    appender = *log->NewAppender();
  }
  std::string stores() const { return folder.path() + "/stores"; }
  std::unique_ptr<DedupStage> NewStage(std::chrono::milliseconds trim_interval = {}) {
    auto stage = std::make_unique<DedupStage>(
        DedupStage::Options{.folder = stores(),
                            .default_window_us = 3'600'000'000,
                            .beside_log = beside_log,
                            .entries_per_checkpoint = beside_log ? 50'000u : 1u,
                            .trim_interval = trim_interval},
        *log, SystemClock());
    REQUIRE(stage->Open(0).ok());
    return stage;
  }
  /// Runs an event with this id through; whether it is a duplicate.
  bool Commit(DedupStage& stage, const std::string& id) {
    EventBatch batch;
    Event& event = batch.events.emplace_back();
    event.meta.set_workspace_id("w1");
    event.meta.set_source_id("s1");
    event.meta.set_message_id(id);
    event.meta.set_received_at_us(kStart);
    event.offset = next_offset++;
    REQUIRE(stage.Run(batch).ok());
    const auto changelog = stage.Changelog();
    REQUIRE(changelog.ok());
    for (const auto& [partition, packed] : *changelog) Append(packed);
    REQUIRE(stage.Committed().ok());
    return event.state == EventState::kDuplicate;
  }
  void Append(const std::string& value) {
    const event_log::TopicRecord record{.topic = kTopic,
                                        .record = {.value = value, .partition = 0}};
    std::promise<Status> done;
    appender->Append({&record, 1}, [&done](Status status) { done.set_value(std::move(status)); });
    REQUIRE(done.get_future().get().ok());
  }
  event_log::PartitionInfo Changelog() { return (*log->Describe(kTopic))[0]; }

  event_log::TestFolder folder;
  std::unique_ptr<event_log::EventLog> log;
  std::unique_ptr<event_log::Appender> appender;
  bool beside_log = true;
  int64_t next_offset = 0;
};

TEST_CASE("Beside its log a changelog keeps only what the store may not have on disk",
          "[processor]") {
  Fixture f;
  const auto stage = f.NewStage();
  for (int i = 0; i < 50; ++i) {
    CHECK_FALSE(f.Commit(*stage, std::to_string(i)));
    CHECK(f.Changelog().end_offset - f.Changelog().begin_offset <= 1);
  }
  REQUIRE(stage->Idle().ok());
  CHECK(f.Changelog().begin_offset == f.Changelog().end_offset);
  CHECK(f.Commit(*stage, "0"));
}

TEST_CASE("What an older version left in a changelog goes once it is in the store", "[processor]") {
  Fixture f;
  f.beside_log = false;
  auto stage = f.NewStage();
  for (int i = 0; i < 5; ++i) CHECK_FALSE(f.Commit(*stage, std::to_string(i)));
  stage.reset();
  f.beside_log = true;
  stage = f.NewStage();
  REQUIRE(stage->Idle().ok());
  CHECK(f.Changelog().begin_offset == f.Changelog().end_offset);
  for (int i = 0; i < 5; ++i) CHECK(f.Commit(*stage, std::to_string(i)));
}

TEST_CASE("A loss of power takes nothing that the changelog does not have", "[processor]") {
  Fixture f;
  {
    const auto stage = f.NewStage();  // trims at each chance: what stands by now is synced
    for (const char* id : {"1", "2"}) CHECK_FALSE(f.Commit(*stage, id));
    REQUIRE(stage->Idle().ok());
    std::filesystem::copy(f.stores(), f.folder.path() + "/synced",
                          std::filesystem::copy_options::recursive);
  }
  {
    const auto stage = f.NewStage(std::chrono::hours(1));
    for (const char* id : {"3", "4"}) CHECK_FALSE(f.Commit(*stage, id));
  }
  std::filesystem::remove_all(f.stores());
  std::filesystem::rename(f.folder.path() + "/synced", f.stores());
  const auto stage = f.NewStage();
  for (const char* id : {"1", "2", "3", "4"}) CHECK(f.Commit(*stage, id));
}

TEST_CASE("A lost folder beside its log begins anew", "[processor]") {
  Fixture f;
  auto stage = f.NewStage();
  for (const char* id : {"1", "2", "3"}) CHECK_FALSE(f.Commit(*stage, id));
  stage.reset();
  std::filesystem::remove_all(f.stores());
  stage = f.NewStage();
  CHECK_FALSE(f.Commit(*stage, "1"));
  CHECK(f.Commit(*stage, "1"));
}

TEST_CASE("A new log under an old store begins anew at once", "[processor]") {
  Fixture f;
  f.beside_log = GENERATE(false, true);
  // How far the new changelog has come: less than the store knows, just as far, farther.
  const int already = GENERATE(range(0, 8));
  CAPTURE(f.beside_log, already);
  auto stage = f.NewStage();
  for (const char* id : {"1", "2", "3"}) CHECK_FALSE(f.Commit(*stage, id));
  stage.reset();
  f.OpenLog("new-log");
  for (int i = 0; i < already; ++i) f.Append("");
  f.next_offset = 0;
  stage = f.NewStage();
  CHECK_FALSE(f.Commit(*stage, "3"));  // of the new log: nothing is known of it
  CHECK(f.Commit(*stage, "3"));
}

TEST_CASE("Opening a store ends when it is asked to, also while the log is away", "[processor]") {
  event_log::TestFolder folder;
  testing::MemoryLog log;
  REQUIRE(log.EnsureTopic(kTopic, {}).ok());
  log.Hold();
  DedupStage stage({.folder = folder.path(), .default_window_us = 1}, log, SystemClock());
  std::stop_source stop;
  stage.StopWith(stop.get_token());
  stop.request_stop();
  CHECK(stage.Open(0).code() == StatusCode::kUnavailable);
  log.Release();
}

}  // namespace
}  // namespace millrace::processor
