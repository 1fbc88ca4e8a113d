#include "services/control-plane/store.h"

#include <catch2/catch.hpp>
#include <sqlite3.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include "libs/event_log/local/test_folder.h"

namespace millrace::control_plane {
namespace {

using accounting::v1::Counters;
using delivery::v1::DeadLetter;

std::unique_ptr<Store> Open(const std::string& path) {
  auto store = Store::Open(path);
  INFO(Message(store.status()));
  REQUIRE(store.ok());
  return *std::move(store);
}

Counters Count(const std::string& source, accounting::v1::Fate fate, int64_t count) {
  Counters counters;
  counters.set_stage("processor");
  auto* one = counters.add_counts();
  one->set_source_id(source);
  one->set_fate(fate);
  one->set_count(count);
  return counters;
}

DeadLetter Letter(const std::string& id, const std::string& destination, int64_t failed_at_us) {
  DeadLetter letter;
  letter.set_id(id);
  letter.set_destination_id(destination);
  letter.set_failed_at_us(failed_at_us);
  letter.set_event("{}");
  return letter;
}

std::vector<std::string> IdsOf(const std::vector<DeadLetterRow>& rows) {
  std::vector<std::string> ids;
  for (const auto& row : rows) ids.push_back(row.letter.id() + ":" + row.state);
  return ids;
}

using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE(
    "a store is its owner's only, keeps its workspace, and refuses a change made on an old one",
    "[store]") {
  event_log::TestFolder folder;
  const std::string path = folder.path() + "/control-plane.db";
  {
    const auto store = Open(path);
    auto workspace = store->LoadWorkspace();
    REQUIRE(workspace.ok());
    CHECK(workspace->revision() == 1);
    workspace->set_revision(2);
    workspace->add_sources()->set_id("a");
    REQUIRE(store->SaveWorkspace(*workspace).ok());
    CHECK(store->SaveWorkspace(*workspace).code() == StatusCode::kAborted);
  }
  CHECK((std::filesystem::status(path).permissions() & std::filesystem::perms::all) ==
        (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
  const auto again = Open(path)->LoadWorkspace();
  REQUIRE(again.ok());
  CHECK(again->revision() == 2);
  CHECK(again->sources_size() == 1);
}

TEST_CASE("a file of a newer version is refused with what to do", "[store]") {
  event_log::TestFolder folder;
  const std::string path = folder.path() + "/control-plane.db";
  Open(path);
  sqlite3* raw = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &raw) == SQLITE_OK);
  REQUIRE(sqlite3_exec(raw, "PRAGMA user_version=99", nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(raw);
  const Status status = Store::Open(path).status();
  CHECK(status.code() == StatusCode::kFailedPrecondition);
  CHECK(Message(status).find("newer version") != std::string_view::npos);
}

TEST_CASE("counters add up, with the position that was read", "[store]") {
  event_log::TestFolder folder;
  const auto store = Open(folder.path() + "/s.db");
  REQUIRE(store
              ->AddCounters({Count("a", accounting::v1::ACCEPTED, 3),
                             Count("a", accounting::v1::ACCEPTED, 4)},
                            "counters", 0, 12)
              .ok());
  const auto rows = store->Counts();
  REQUIRE(rows.ok());
  REQUIRE(rows->size() == 1);
  CHECK(rows->at(0).count == 7);
  CHECK(*store->Position("counters", 0) == 12);
  CHECK(*store->Position("counters", 1) == 0);
}

TEST_CASE("a record that its stage repeats is counted once", "[store]") {
  event_log::TestFolder folder;
  const auto store = Open(folder.path() + "/s.db");
  Counters counters = Count("a", accounting::v1::DELIVERED, 5);
  counters.set_stage("warehouse-loader");
  counters.set_topic("destination.d");
  counters.set_last_offset(100);
  REQUIRE(store->AddCounters({counters}, "counters", 0, 1).ok());
  REQUIRE(store->AddCounters({counters}, "counters", 0, 2).ok());
  counters.set_last_offset(110);
  REQUIRE(store->AddCounters({counters}, "counters", 0, 3).ok());
  counters.set_partition(1);  // another partition, its own range
  REQUIRE(store->AddCounters({counters}, "counters", 0, 4).ok());
  const auto rows = store->Counts();
  REQUIRE(rows.ok());
  CHECK(rows->at(0).count == 15);
}

TEST_CASE("dead letters: newest first, redriven ones marked, dead again when they fail again",
          "[store]") {
  event_log::TestFolder folder;
  const auto store = Open(folder.path() + "/s.db");
  REQUIRE(store
              ->AddDeadLetters({Letter("a", "d1", 1), Letter("b", "d2", 2), Letter("c", "d1", 3)},
                               "dead-letter", 0, 3)
              .ok());
  CHECK(IdsOf(*store->DeadLetters("", {}, 10)) == Strings{"c:dead", "b:dead", "a:dead"});
  CHECK(IdsOf(*store->DeadLetters("d1", {}, 10)) == Strings{"c:dead", "a:dead"});
  CHECK(IdsOf(*store->DeadLetters("", {"b"}, 10)) == Strings{"b:dead"});
  CHECK(IdsOf(*store->DeadLetters("", {}, 1)) == Strings{"c:dead"});
  DeadLetter mark;
  mark.set_id("a");
  mark.set_redriven(true);
  REQUIRE(store->AddDeadLetters({mark}, "dead-letter", 0, 4).ok());
  CHECK(*store->DeadLetterIds("d1", 10) == Strings{"c"});
  CHECK(IdsOf(*store->DeadLetters("d1", {}, 10)) == Strings{"c:dead", "a:redriven"});
  REQUIRE(store->AddDeadLetters({Letter("a", "d1", 9)}, "dead-letter", 0, 5).ok());
  CHECK(*store->DeadLetterIds("", 10) == Strings{"b", "c", "a"});
}

namespace {

/// While it lives no file of this process grows beyond `bytes`, as on a full disk.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

}  // namespace

TEST_CASE("on a full disk a store refuses changes, goes on reading, and recovers", "[store]") {
  event_log::TestFolder folder;
  const std::string path = folder.path() + "/s.db";
  auto store = Open(path);
  auto workspace = *store->LoadWorkspace();
  workspace.set_revision(2);
  workspace.add_sources()->set_config_json(std::string(1 << 20, 'x'));
  {
    const FileLimit full(std::filesystem::file_size(path + "-wal") + 8192);
    for (int i = 0; i < 3; ++i) {
      CHECK(store->SaveWorkspace(workspace).code() == StatusCode::kUnavailable);
    }
    CHECK(store->LoadWorkspace()->revision() == 1);
    store.reset();
    store = Open(path);  // a restart
    CHECK(store->LoadWorkspace()->revision() == 1);
    CHECK(store->SaveWorkspace(workspace).code() == StatusCode::kUnavailable);
  }
  REQUIRE(store->SaveWorkspace(workspace).ok());
  CHECK(store->LoadWorkspace()->revision() == 2);
}

TEST_CASE("the write-ahead file does not stay as large as its largest change", "[store]") {
  event_log::TestFolder folder;
  const std::string path = folder.path() + "/s.db";
  const auto store = Open(path);
  auto workspace = *store->LoadWorkspace();
  workspace.add_sources()->set_config_json(std::string(24 << 20, 'x'));
  for (uint64_t revision = 2; revision < 5; ++revision) {
    workspace.set_revision(revision);
    REQUIRE(store->SaveWorkspace(workspace).ok());
    workspace.mutable_sources(0)->clear_config_json();
  }
  CHECK(std::filesystem::file_size(path + "-wal") <= 8 << 20);
}

}  // namespace millrace::control_plane
