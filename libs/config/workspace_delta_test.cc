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

/// "same" when a delta from the one makes the other of it, else how they differ.
std::string DescribeChange(const v1::Workspace& from, const v1::Workspace& to) {
  const auto patched = ApplyDelta(from, MakeDelta(from, to));
  if (!patched.ok()) return std::string(Message(patched.status()));
  google::protobuf::util::MessageDifferencer differencer;
  std::string difference;
  differencer.ReportDifferencesToString(&difference);
  return differencer.Compare(*patched, to) ? "same" : difference;
}

}  // namespace

TEST_CASE("a delta holds what changed and nothing else, and turns the one into the other",
          "[config]") {
  const v1::Workspace before = Make(4, {{"a", "A"}, {"b", "B"}, {"c", "C"}});
  v1::Workspace after = Make(5, {{"a", "A"}, {"c", "C2"}, {"e", "E"}});
  after.set_updated_at_us(77);
  const v1::WorkspaceDelta delta = MakeDelta(before, after);
  REQUIRE(delta.lists_size() == 1);
  CHECK(delta.lists(0).field() == v1::Workspace::kSourcesFieldNumber);
  CHECK(delta.lists(0).upserted_size() == 2);
  REQUIRE(delta.lists(0).deleted_size() == 1);
  CHECK(delta.lists(0).deleted(0) == "b");
  const auto patched = ApplyDelta(before, delta);
  REQUIRE(patched.ok());
  CHECK(google::protobuf::util::MessageDifferencer::Equals(*patched, after));
}

TEST_CASE("every list and every other field of the workspace takes part in a delta", "[config]") {
  // Whatever fields there are: each is set in its turn.
  const auto& descriptor = *v1::Workspace::descriptor();
  int lists = 0;
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const auto& field = *descriptor.field(i);
    CAPTURE(field.name());
    const v1::Workspace plain = Make(1, {});
    v1::Workspace with = Make(2, {});
    if (field.is_repeated()) {
      REQUIRE(field.message_type() != nullptr);
      ++lists;
      const auto add = [&](const std::string& key) {
        auto* entity = with.GetReflection()->AddMessage(&with, &field);
        const auto* by = field.message_type()->FindFieldByName("id");
        if (by == nullptr) by = field.message_type()->FindFieldByName("key");
        REQUIRE(by != nullptr);
        entity->GetReflection()->SetString(entity, by, key);
      };
      for (const char* key : {"x", "y", "z"}) add(key);
    } else if (field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING) {
      with.GetReflection()->SetString(&with, &field, "another");
    }
    REQUIRE(DescribeChange(plain, with) == "same");
    // And gone again, the one in the middle first.
    v1::Workspace fewer = with;
    fewer.set_revision(3);
    if (field.is_repeated()) {
      const auto& reflection = *fewer.GetReflection();
      const int size = reflection.FieldSize(fewer, &field);
      reflection.SwapElements(&fewer, &field, size - 2, size - 1);
      reflection.RemoveLast(&fewer, &field);
    }
    CHECK(DescribeChange(with, fewer) == "same");
    CHECK(DescribeChange(fewer, plain) == "same");
  }
  CHECK(lists >= 6);
}

TEST_CASE("a delta replaces what changed in its place, and is empty when nothing did", "[config]") {
  v1::Workspace before = Make(1, {});
  v1::Workspace after = Make(2, {});
  for (auto* workspace : {&before, &after}) {
    for (const char* key : {"a", "b", "c"}) workspace->add_credentials()->set_key(key);
  }
  after.mutable_credentials(1)->set_value("changed");
  CHECK(DescribeChange(before, after) == "same");
  CHECK(MakeDelta(after, after).lists().empty());
}

TEST_CASE("a change of a list that is not known is refused, not passed over", "[config]") {
  v1::WorkspaceDelta delta = MakeDelta(Make(1, {}), Make(2, {}));
  delta.add_lists()->set_field(9999);
  CHECK(ApplyDelta(Make(1, {}), delta).status().code() == StatusCode::kFailedPrecondition);
  delta.mutable_lists(0)->set_field(v1::Workspace::kNameFieldNumber);
  CHECK(ApplyDelta(Make(1, {}), delta).status().code() == StatusCode::kFailedPrecondition);
  delta.clear_lists();
  delta.clear_head();  // as a control plane of before `lists` sends it
  CHECK(ApplyDelta(Make(1, {}), delta).status().code() == StatusCode::kFailedPrecondition);
}

TEST_CASE("a delta of another revision is refused", "[config]") {
  const v1::WorkspaceDelta delta = MakeDelta(Make(4, {}), Make(5, {}));
  CHECK(ApplyDelta(Make(3, {}), delta).status().code() == StatusCode::kFailedPrecondition);
}

}  // namespace millrace::config
