#include <catch2/catch.hpp>

#include <filesystem>

#include "libs/event_log/local/test_folder.h"
#include "services/control-plane/store.h"

namespace millrace::control_plane {
namespace {

std::unique_ptr<Store> Open(const std::string& path) {
  auto store = Store::Open(path);
  INFO(Message(store.status()));
  REQUIRE(store.ok());
  return *std::move(store);
}

/// Makes a change at `at_us`, and says what a service then holds.
config::v1::HeldConfiguration Change(Store& store, int64_t at_us) {
  auto workspace = *store.LoadWorkspace();
  workspace.set_revision(workspace.revision() + 1);
  workspace.set_updated_at_us(at_us);
  REQUIRE(store.SaveWorkspace(workspace).ok());
  config::v1::HeldConfiguration held;
  held.set_store_id(workspace.store_id());
  held.set_revision(workspace.revision());
  held.set_updated_at_us(workspace.updated_at_us());
  return held;
}

}  // namespace

TEST_CASE("a store keeps its identity, and no two have the same", "[store]") {
  event_log::TestFolder folder;
  const std::string first = *Open(folder.path() + "/a.db")->Identity();
  CHECK(first.size() == 32);
  CHECK(*Open(folder.path() + "/a.db")->Identity() == first);
  CHECK(*Open(folder.path() + "/b.db")->Identity() != first);
}

TEST_CASE("a store knows the configurations that came out of it, however many", "[store]") {
  event_log::TestFolder folder;
  const auto store = Open(folder.path() + "/a.db");
  CHECK(*store->DescentFrom({}) == Descent::kSuccessor);  // nothing is held
  const auto first = Change(*store, 100);
  const auto second = Change(*store, 200);
  CHECK(*store->DescentFrom(first) == Descent::kSuccessor);
  CHECK(*store->DescentFrom(second) == Descent::kSuccessor);
  for (int i = 0; i < 1100; ++i) Change(*store, 300 + i);
  CHECK(*store->DescentFrom(first) == Descent::kSuccessor);
  CHECK(*store->DescentFrom(second) == Descent::kSuccessor);
}

TEST_CASE("a configuration of another store is foreign, until that is accepted", "[store]") {
  event_log::TestFolder folder;
  const auto former = Open(folder.path() + "/a.db");
  const auto store = Open(folder.path() + "/b.db");
  const auto held = Change(*former, 100);
  Change(*store, 100);
  CHECK(*store->DescentFrom(held) == Descent::kForeign);
  REQUIRE(store->AcceptInPlaceOf(held.store_id(), 150).ok());
  CHECK(*store->DescentFrom(held) == Descent::kAccepted);
  CHECK(*store->DescentFrom(Change(*former, 200)) == Descent::kForeign);
}

TEST_CASE("a store that was restored is no successor of what came after its backup", "[store]") {
  event_log::TestFolder folder;
  const std::string path = folder.path() + "/a.db", backup = folder.path() + "/backup.db";
  config::v1::HeldConfiguration before, after;
  {
    const auto store = Open(path);
    before = Change(*store, 100);
  }
  std::filesystem::copy_file(path, backup);
  {
    const auto store = Open(path);
    after = Change(*store, 200);
  }
  const auto restored = Open(backup);
  CHECK(*restored->DescentFrom(before) == Descent::kSuccessor);
  CHECK(*restored->DescentFrom(after) == Descent::kForeign);
  Change(*restored, 300);  // its number is taken again by another change
  CHECK(*restored->DescentFrom(after) == Descent::kForeign);
  Change(*restored, 400);
  CHECK(*restored->DescentFrom(after) == Descent::kForeign);
  REQUIRE(restored->AcceptInPlaceOf(after.store_id(), 250).ok());
  CHECK(*restored->DescentFrom(after) == Descent::kAccepted);
}

TEST_CASE("a configuration from before stores had names is judged by its revision", "[store]") {
  event_log::TestFolder folder;
  const auto store = Open(folder.path() + "/a.db");
  auto held = Change(*store, 100);
  held.clear_store_id();
  CHECK(*store->DescentFrom(held) == Descent::kSuccessor);
  held.set_revision(7);
  CHECK(*store->DescentFrom(held) == Descent::kForeign);
}

}  // namespace millrace::control_plane
