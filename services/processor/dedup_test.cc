#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"
#include "services/processor/dedup_stage.h"
#include "services/processor/dedup_store.h"

namespace millrace::processor {
namespace {

constexpr int64_t kHour = 3'600'000'000;
constexpr int64_t kStart = 1'767'225'600'000'000;

/// A log with a changelog topic of two partitions, and a folder for the stores.
struct Fixture {
  Fixture() {
    auto opened = event_log::OpenLocalLog({.path = folder.path() + "/log"});
    REQUIRE(opened.ok());
    log = *std::move(opened);
    REQUIRE(log->EnsureTopic(std::string(event_log::kDedupTopic), {.partitions = 2}).ok());
    appender = *log->NewAppender();
  }
  std::unique_ptr<DedupStage> NewStage(const std::string& stores, size_t per_checkpoint = 50'000) {
    auto stage =
        std::make_unique<DedupStage>(DedupStage::Options{.folder = folder.path() + "/" + stores,
                                                         .default_window_us = kHour,
                                                         .beside_log = beside_log,
                                                         .entries_per_checkpoint = per_checkpoint,
                                                         .trim_interval = trim_interval},
                                     *log, SystemClock(), &metrics);
    REQUIRE(stage->Open(0).ok());
    return stage;
  }
  /// Runs the events through, with what the worker does around it; how many were duplicates.
  int Commit(DedupStage& stage, const std::vector<std::string>& ids, int64_t at_us = kStart) {
    EventBatch batch;
    for (const std::string& id : ids) {
      Event& event = batch.events.emplace_back();
      event.meta.set_workspace_id("w1");
      event.meta.set_source_id("s1");
      event.meta.set_message_id(id);
      event.meta.set_received_at_us(at_us);
      event.offset = next_offset++;
    }
    REQUIRE(stage.Run(batch).ok());
    const auto changelog = stage.Changelog();
    REQUIRE(changelog.ok());
    for (const auto& [partition, packed] : *changelog) {
      const event_log::TopicRecord record{.topic = event_log::kDedupTopic,
                                          .record = {.value = packed, .partition = partition}};
      std::promise<Status> done;
      appender->Append({&record, 1}, [&done](Status status) { done.set_value(std::move(status)); });
      REQUIRE(done.get_future().get().ok());
    }
    if (!lose_commit) REQUIRE(stage.Committed().ok());
    int duplicates = 0;
    for (const Event& event : batch.events) duplicates += event.state == EventState::kDuplicate;
    return duplicates;
  }

  event_log::TestFolder folder;
  std::unique_ptr<event_log::EventLog> log;
  std::unique_ptr<event_log::Appender> appender;
  int64_t next_offset = 0;
  bool lose_commit = false;
  bool beside_log = false;
  std::chrono::milliseconds trim_interval{0};
  telemetry::Metrics metrics;
};

TEST_CASE("An id is taken once in a batch and once over batches", "[dedup]") {
  Fixture f;
  const auto stage = f.NewStage("a");
  CHECK(f.Commit(*stage, {"1", "2", "1"}) == 1);
  CHECK(f.Commit(*stage, {"2", "3"}) == 1);
}

TEST_CASE("An event that is read again is not its own duplicate", "[dedup]") {
  Fixture f;
  const auto stage = f.NewStage("a");
  CHECK(f.Commit(*stage, {"1", "2", "1"}) == 1);
  f.next_offset = 0;
  CHECK(f.Commit(*stage, {"1", "2", "1"}) == 1);
}

TEST_CASE("An id is forgotten after the window, within one batch too", "[dedup]") {
  Fixture f;
  const auto stage = f.NewStage("a");
  CHECK(f.Commit(*stage, {"1"}) == 0);
  CHECK(f.Commit(*stage, {"1"}, kStart + kHour) == 1);
  CHECK(f.Commit(*stage, {"1"}, kStart + kHour + 1) == 0);
}

TEST_CASE("A source has its own window, or none", "[dedup]") {
  Fixture f;
  const auto stage = f.NewStage("a");
  config::v1::Workspace workspace;
  auto* source = workspace.add_sources();
  source->set_id("s1");
  SECTION("longer") {
    source->set_dedup_window_s(3 * 3600);
    stage->SetWorkspace(workspace);
    f.Commit(*stage, {"1"});
    CHECK(f.Commit(*stage, {"1"}, kStart + 2 * kHour) == 1);
  }
  SECTION("none") {
    source->set_dedup_window_s(-1);
    stage->SetWorkspace(workspace);
    CHECK(f.Commit(*stage, {"1", "1"}) == 0);
  }
}

TEST_CASE("What was seen survives", "[dedup]") {
  Fixture f;
  f.beside_log = GENERATE(false, true);
  const size_t per_checkpoint = GENERATE(1u, 3u, 50'000u);
  CAPTURE(f.beside_log, per_checkpoint);
  auto stage = f.NewStage("a", per_checkpoint);
  CHECK(f.Commit(*stage, {"1", "2"}) == 0);
  CHECK(f.Commit(*stage, {"3", "4"}) == 0);
  std::string next = "a";
  SECTION("a restart") {
    stage.reset();
  }
  SECTION("a restart of a store that missed the last commit") {
    f.lose_commit = true;
    CHECK(f.Commit(*stage, {"5"}) == 0);
    f.lose_commit = false;
    REQUIRE(stage->Open(0).ok());  // as the worker does then
    CHECK(f.Commit(*stage, {"5"}) == 1);
    stage.reset();
  }
  SECTION("opening the same partition again") {
    REQUIRE(stage->Open(0).ok());
  }
  auto after = next == "a" && stage != nullptr ? std::move(stage) : f.NewStage(next);
  CHECK(f.Commit(*after, {"1", "2", "3", "4", "new"}) == 4);
}

TEST_CASE("On a cluster what was seen survives the folder too", "[dedup]") {
  Fixture f;
  auto stage = f.NewStage("a", 1);
  CHECK(f.Commit(*stage, {"1", "2"}) == 0);
  CHECK(f.Commit(*stage, {"3", "4"}) == 0);
  stage.reset();
  std::string next = "a";
  SECTION("lost") {
    std::filesystem::remove_all(f.folder.path() + "/a");
  }
  SECTION("damaged") {
    std::ofstream(f.folder.path() + "/a/0/CURRENT") << "nonsense";
  }
  SECTION("on another node") {
    next = "b";
  }
  const auto after = f.NewStage(next);
  CHECK(f.Commit(*after, {"1", "2", "3", "4", "new"}) == 4);
}

TEST_CASE("A log that is younger than the store makes the store anew", "[dedup]") {
  Fixture f;
  auto stage = f.NewStage("a", 1);
  for (const char* id : {"1", "2", "3", "4", "5"}) CHECK(f.Commit(*stage, {id}) == 0);
  stage.reset();
  REQUIRE(f.log->DeleteTopic(std::string(event_log::kDedupTopic)).ok());
  REQUIRE(f.log->EnsureTopic(std::string(event_log::kDedupTopic), {.partitions = 2}).ok());
  stage = f.NewStage("a", 1);
  CHECK(f.Commit(*stage, {"1", "1"}) == 1);
}

TEST_CASE("The changelog's form", "[dedup]") {
  const std::vector<DedupEntry> entries{{.key = {1, 2}, .offset = 3, .seen_at_us = 4},
                                        {.key = {5, 6}, .offset = 7, .seen_at_us = 8}};
  const std::string packed = PackDedupEntries(entries);
  CHECK(packed.size() == 64);
  std::vector<DedupEntry> back;
  REQUIRE(UnpackDedupEntries(packed, &back).ok());
  REQUIRE(back.size() == 2);
  CHECK(back[1].key == entries[1].key);
  CHECK(back[1].offset == 7);
  CHECK(back[1].seen_at_us == 8);
  CHECK_FALSE(UnpackDedupEntries("short", &back).ok());
}

}  // namespace
}  // namespace millrace::processor
