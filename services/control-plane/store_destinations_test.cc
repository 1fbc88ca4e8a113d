#include <catch2/catch.hpp>

#include "libs/event_log/local/test_folder.h"
#include "services/control-plane/store.h"

namespace millrace::control_plane {
namespace {

using accounting::v1::Fate;

std::unique_ptr<Store> Open(const std::string& path) {
  auto store = Store::Open(path);
  INFO(Message(store.status()));
  REQUIRE(store.ok());
  return *std::move(store);
}

/// Makes the workspace's destinations these, of type WEBHOOK.
void SetDestinations(Store& store, const std::vector<std::string>& ids) {
  auto workspace = *store.LoadWorkspace();
  workspace.set_revision(workspace.revision() + 1);
  workspace.set_updated_at_us(static_cast<int64_t>(workspace.revision()) * 100);
  workspace.clear_destinations();
  for (const std::string& id : ids) {
    auto* destination = workspace.add_destinations();
    destination->set_id(id);
    destination->set_name("name of " + id);
    destination->set_type("WEBHOOK");
  }
  REQUIRE(store.SaveWorkspace(workspace).ok());
}

void Count(Store& store, const std::string& stage, const std::string& source,
           const std::string& destination, Fate fate, int64_t count) {
  accounting::v1::Counters counters;
  counters.set_stage(stage);
  auto* one = counters.add_counts();
  one->set_source_id(source);
  one->set_destination_id(destination);
  one->set_fate(fate);
  one->set_count(count);
  const int64_t next = *store.Position("counters", 0) + 1;
  REQUIRE(store.AddCounters({counters}, "counters", 0, next).ok());
}

int64_t SumOf(Store& store, Fate fate, const std::string& reason) {
  int64_t sum = 0;
  const auto rows = *store.Counts();
  for (const CountRow& row : rows) {
    if (row.fate == fate && row.reason == reason) sum += row.count;
  }
  return sum;
}

std::vector<std::string> DeletedIds(Store& store) {
  std::vector<std::string> ids;
  const auto rows = *store.DeletedDestinations();
  for (const auto& row : rows) ids.push_back(row.id + (row.settled ? ":settled" : ""));
  return ids;
}

using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE("a destination that leaves the workspace is noted, and goes from there when it is back",
          "[store]") {
  event_log::TestFolder folder;
  const auto store = Open(folder.path() + "/s.db");
  SetDestinations(*store, {"a", "b"});
  CHECK(DeletedIds(*store).empty());
  SetDestinations(*store, {"b"});
  const auto deleted = *store->DeletedDestinations();
  REQUIRE(deleted.size() == 1);
  CHECK(deleted[0].id == "a");
  CHECK(deleted[0].name == "name of a");
  CHECK(deleted[0].type == "WEBHOOK");
  CHECK(deleted[0].deleted_at_us == 300);
  SetDestinations(*store, {"b", "c"});
  CHECK(DeletedIds(*store) == Strings{"a"});
  SetDestinations(*store, {"a", "c"});
  CHECK(DeletedIds(*store) == Strings{"b"});
}

TEST_CASE("what waits for a destination is what came into its topic and is not finished",
          "[store]") {
  event_log::TestFolder folder;
  const auto store = Open(folder.path() + "/s.db");
  Count(*store, "processor", "s1", "a", accounting::v1::PASSED_ON, 40);
  Count(*store, "processor", "s1", "a", accounting::v1::FILTERED, 10);
  Count(*store, "processor", "s1", "a", accounting::v1::ROUTED, 30);
  Count(*store, "processor", "s2", "a", accounting::v1::ROUTED, 5);
  Count(*store, "router", "s1", "a", accounting::v1::DELIVERED, 12);
  Count(*store, "router", "s1", "a", accounting::v1::FILTERED, 1);
  Count(*store, "router", "s1", "a", accounting::v1::DROPPED, 2);
  Count(*store, "router", "s1", "a", accounting::v1::DEAD_LETTERED, 3);
  Count(*store, "control-plane", "s1", "a", accounting::v1::REDRIVEN, 1);
  Count(*store, "processor", "s1", "", accounting::v1::ACCEPTED, 40);
  const auto waiting = *store->Waiting();
  CHECK(waiting.size() == 1);
  CHECK(waiting.at("a") == 30 + 5 - 18 + 1);
}

TEST_CASE("what waited for a deleted destination is counted as dead-lettered, once", "[store]") {
  event_log::TestFolder folder;
  const auto store = Open(folder.path() + "/s.db");
  SetDestinations(*store, {"a", "b"});
  Count(*store, "processor", "s1", "a", accounting::v1::ROUTED, 30);
  Count(*store, "router", "s1", "a", accounting::v1::DELIVERED, 12);
  Count(*store, "processor", "s2", "a", accounting::v1::ROUTED, 5);
  Count(*store, "router", "s2", "a", accounting::v1::DELIVERED, 5);
  Count(*store, "processor", "s1", "b", accounting::v1::ROUTED, 7);
  CHECK(store->SettleDeleted("a").code() == StatusCode::kNotFound);
  SetDestinations(*store, {"b"});
  for (int i = 0; i < 2; ++i) {
    REQUIRE(store->SettleDeleted("a").ok());
    CHECK(DeletedIds(*store) == Strings{"a:settled"});
    CHECK(SumOf(*store, accounting::v1::DEAD_LETTERED, "destination_deleted") == 18);
    CHECK(store->Waiting()->at("a") == 0);
    CHECK(store->Waiting()->at("b") == 7);
  }
  // Another one with that id, deleted in its turn.
  SetDestinations(*store, {"a", "b"});
  Count(*store, "processor", "s1", "a", accounting::v1::ROUTED, 2);
  SetDestinations(*store, {"b"});
  CHECK(DeletedIds(*store) == Strings{"a"});
  REQUIRE(store->SettleDeleted("a").ok());
  CHECK(SumOf(*store, accounting::v1::DEAD_LETTERED, "destination_deleted") == 20);
}

TEST_CASE("counts that come after the topics of a deleted destination are gone correct its count",
          "[store]") {
  event_log::TestFolder folder;
  const auto store = Open(folder.path() + "/s.db");
  SetDestinations(*store, {"a"});
  Count(*store, "processor", "s1", "a", accounting::v1::ROUTED, 30);
  SetDestinations(*store, {});
  REQUIRE(store->SettleDeleted("a", /*all_read=*/false).ok());
  CHECK(DeletedIds(*store) == Strings{"a"});
  CHECK(SumOf(*store, accounting::v1::DEAD_LETTERED, "destination_deleted") == 30);
  CHECK(store->Waiting()->at("a") == 0);
  Count(*store, "router", "s1", "a", accounting::v1::DELIVERED, 4);
  Count(*store, "processor", "s1", "a", accounting::v1::ROUTED, 1);
  REQUIRE(store->SettleDeleted("a").ok());
  CHECK(DeletedIds(*store) == Strings{"a:settled"});
  CHECK(SumOf(*store, accounting::v1::DEAD_LETTERED, "destination_deleted") == 27);
  CHECK(store->Waiting()->at("a") == 0);
}

TEST_CASE("a destination for which fewer than none wait is not made even", "[store]") {
  event_log::TestFolder folder;
  const auto store = Open(folder.path() + "/s.db");
  SetDestinations(*store, {"a"});
  Count(*store, "router", "s1", "a", accounting::v1::DELIVERED, 4);
  SetDestinations(*store, {});
  REQUIRE(store->SettleDeleted("a").ok());
  CHECK(SumOf(*store, accounting::v1::DEAD_LETTERED, "destination_deleted") == 0);
  CHECK(store->Waiting()->at("a") == -4);
}

TEST_CASE("a loader that counts from 0 again for a new destination with an old id is heard",
          "[store]") {
  event_log::TestFolder folder;
  const auto store = Open(folder.path() + "/s.db");
  accounting::v1::Counters counters;
  counters.set_stage("warehouse-loader");
  counters.set_topic("destination.a");
  counters.set_last_offset(100);
  auto* one = counters.add_counts();
  one->set_source_id("s1");
  one->set_destination_id("a");
  one->set_fate(accounting::v1::DELIVERED);
  one->set_count(5);
  SetDestinations(*store, {"a"});
  REQUIRE(store->AddCounters({counters}, "counters", 0, 1).ok());
  SetDestinations(*store, {});
  REQUIRE(store->SettleDeleted("a").ok());
  SetDestinations(*store, {"a"});
  counters.set_last_offset(3);
  REQUIRE(store->AddCounters({counters}, "counters", 0, 2).ok());
  CHECK(SumOf(*store, accounting::v1::DELIVERED, "") == 10);
}

TEST_CASE("what is kept of deleted destinations is bounded, the newest stay", "[store]") {
  event_log::TestFolder folder;
  const auto store = Open(folder.path() + "/s.db");
  Strings ids;
  for (int i = 0; i < Store::kDeletedKept; ++i) ids.push_back(fmt::format("d{}", i));
  SetDestinations(*store, {"first"});
  Count(*store, "processor", "s1", "first", accounting::v1::ROUTED, 7);
  Count(*store, "processor", "s1", "d0", accounting::v1::ROUTED, 3);
  Count(*store, "processor", "s1", "", accounting::v1::ACCEPTED, 9);
  SetDestinations(*store, ids);
  REQUIRE(store->SettleDeleted("first").ok());
  CHECK(DeletedIds(*store) == Strings{"first:settled"});
  SetDestinations(*store, {});
  for (const std::string& id : ids) REQUIRE(store->SettleDeleted(id).ok());
  CHECK(DeletedIds(*store).size() == Store::kDeletedKept);
  CHECK(SumOf(*store, accounting::v1::ROUTED, "") == 3);
  CHECK(SumOf(*store, accounting::v1::ACCEPTED, "") == 9);
}

}  // namespace millrace::control_plane
