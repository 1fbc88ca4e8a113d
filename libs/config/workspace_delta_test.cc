#include "libs/config/workspace_delta.h"

#include <catch2/catch.hpp>
#include <google/protobuf/util/message_differencer.h>

namespace millrace::config {
namespace {

v1::Workspace Make(uint64_t revision,
                   const std::vector<std::pair<std::string, std::string>>& sources) {
  v1::Workspace workspace;
  workspace.set_id("w");
  workspace.set_revision(revision);
  for (const auto& [id, name] : sources) {
    auto* source = workspace.add_sources();
    source->set_id(id);
    source->set_name(name);
  }
  auto* destination = workspace.add_destinations();
  destination->set_id("d");
  return workspace;
}

}  // namespace

TEST_CASE("a delta holds what changed and nothing else, and turns the one into the other",
          "[config]") {
  const v1::Workspace before = Make(4, {{"a", "A"}, {"b", "B"}, {"c", "C"}});
  v1::Workspace after = Make(5, {{"a", "A"}, {"c", "C2"}, {"e", "E"}});
  after.set_updated_at_us(77);
  const v1::WorkspaceDelta delta = MakeDelta(before, after);
  CHECK(delta.upserted_sources_size() == 2);
  REQUIRE(delta.deleted_source_ids_size() == 1);
  CHECK(delta.deleted_source_ids(0) == "b");
  CHECK(delta.upserted_destinations_size() == 0);
  const auto patched = ApplyDelta(before, delta);
  REQUIRE(patched.ok());
  CHECK(google::protobuf::util::MessageDifferencer::Equals(*patched, after));
}

TEST_CASE("a delta carries transformations, libraries and credentials", "[config]") {
  const auto add = [](v1::Workspace* workspace, const std::string& version,
                      const std::string& library, const std::string& key,
                      const std::string& value) {
    auto* transformation = workspace->add_transformations();
    transformation->set_id("t");
    transformation->mutable_published()->set_id(version);
    auto* code = workspace->add_library_versions();
    code->set_id(library);
    code->set_published(true);
    auto* credential = workspace->add_credentials();
    credential->set_key(key);
    credential->set_value(value);
  };
  v1::Workspace before = Make(1, {});
  v1::Workspace after = Make(2, {});
  SECTION("new") {
    add(&after, "v1", "l1", "k", "x");
  }
  SECTION("changed, one gone for another") {
    add(&before, "v1", "l1", "k", "x");
    add(&after, "v2", "l2", "k", "y");
  }
  SECTION("a key gone for another") {
    add(&before, "v1", "l1", "k", "x");
    add(&after, "v1", "l1", "k2", "x");
  }
  SECTION("gone") {
    add(&before, "v1", "l1", "k", "x");
  }
  const v1::WorkspaceDelta delta = MakeDelta(before, after);
  const auto patched = ApplyDelta(before, delta);
  REQUIRE(patched.ok());
  CHECK(google::protobuf::util::MessageDifferencer::Equals(*patched, after));
  // And nothing when nothing changed.
  const v1::WorkspaceDelta none = MakeDelta(after, after);
  CHECK(none.upserted_transformations_size() + none.upserted_library_versions_size() +
            none.upserted_credentials_size() ==
        0);
}

TEST_CASE("a delta of another revision is refused", "[config]") {
  const v1::WorkspaceDelta delta = MakeDelta(Make(4, {}), Make(5, {}));
  CHECK(ApplyDelta(Make(3, {}), delta).status().code() == StatusCode::kFailedPrecondition);
}

}  // namespace millrace::config
