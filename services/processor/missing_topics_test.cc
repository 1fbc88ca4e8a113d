#include "services/processor/missing_topics.h"

#include <catch2/catch.hpp>

#include <string>

#include "services/processor/outputs.h"
#include "services/processor/processor_fixture.h"

namespace millrace::processor {
namespace {

TEST_CASE("A destination without a topic holds up no other; its events are kept as dead letters",
          "[processor]") {
  Fixture f(nullptr);
  const auto workspace = TestWorkspace();
  REQUIRE(f.log->EnsureTopic("destination.d2", {}).ok());
  f.config->Set(workspace);
  SECTION("from the beginning") {
    f.Start();
  }
  SECTION("as it is deleted meanwhile") {
    REQUIRE(f.log->EnsureTopic("destination.d1", {}).ok());
    f.Start();
    f.Send("s1", "before", R"(,"integrations":{"All":false,"d2":true})");
    (void)f.WaitUntilCounted();
    REQUIRE(f.log->DeleteTopic("destination.d1").ok());
  }
  f.Send("s1", "m1");
  const Counts counts = f.WaitUntilCounted();
  using Key = Counts::key_type;
  CHECK(counts.at(Key{"s1", "d1", accounting::v1::DEAD_LETTERED, "topic_missing"}) == 1);
  CHECK(Fixture::Of(counts, accounting::v1::ROUTED, "d1") == 0);
  CHECK(Fixture::Of(counts, accounting::v1::ROUTED, "d2") == f.sent);
  const auto letters = f.Letters();
  REQUIRE(letters.size() == 1);
  CHECK(letters[0].destination_id() == "d1");
  CHECK(letters[0].message_id() == "m1");
  CHECK(letters[0].error_class() == "discarded");
  CHECK(letters[0].event().find("Bought") != std::string::npos);
  CHECK(letters[0].delivery().destination_id() == "d1");
  // Nobody but the control plane makes it; once it is there it is found.
  CHECK_FALSE(f.log->Describe("destination.d1").ok());
  REQUIRE(f.log->EnsureTopic("destination.d1", {}).ok());
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (int i = 0; Fixture::Of(f.Counted(), accounting::v1::ROUTED, "d1") == 0; ++i) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    f.Send("s1", "later" + std::to_string(i));
    (void)f.WaitUntilCounted();
  }
  f.Stop();
}

TEST_CASE("What was deleted and what has no topic yet are told apart", "[processor]") {
  Fixture f(nullptr);
  const destination::v1::Definition definition;
  const FanOut old(TestWorkspace(), [&](std::string_view) { return &definition; });
  auto newest = TestWorkspace();
  newest->mutable_destinations()->DeleteSubrange(0, 1);  // d1
  f.config->Set(newest);
  MissingTopics missing(*f.log, SystemClock(), *f.config);
  REQUIRE(missing.Refresh(old).ok());
  CHECK(missing.reasons() == MissingTopics::Reasons{{"d1", kDestinationDeleted},
                                                    {"d2", kTopicMissing}});  // "off" needs none

  Outputs outputs(old, missing.reasons(), 0, SIZE_MAX);
  Event event;
  event.meta.set_source_id("s1");
  event.bytes = Bytes(std::string("{}"));
  outputs.Add(event);
  const auto& counts = outputs.counts();
  CHECK(counts.at({"s1", "d1", accounting::v1::DEAD_LETTERED, "destination_deleted"}) == 1);
  CHECK(counts.at({"s1", "d2", accounting::v1::DEAD_LETTERED, "topic_missing"}) == 1);
  REQUIRE(outputs.records().size() == 1);  // of what was deleted no body is kept
  delivery::v1::DeadLetter letter;
  REQUIRE(letter.ParseFromString(std::string(outputs.records()[0].record.value)));
  CHECK(letter.destination_id() == "d2");
}

TEST_CASE("A paused destination is emitted to; a disabled one is filtered", "[processor]") {
  auto workspace = TestWorkspace();
  workspace->mutable_destinations(0)->set_paused(true);
  workspace->mutable_destinations(1)->set_enabled(false);
  workspace->mutable_destinations(1)->set_disabled_at_us(SystemClock().NowMicros());
  Fixture f(workspace);
  f.Start();
  f.Send("s1", "m1");
  const Counts counts = f.WaitUntilCounted();
  f.Stop();
  using Key = Counts::key_type;
  CHECK(counts.at(Key{"s1", "d1", accounting::v1::ROUTED, ""}) == 1);
  CHECK(counts.at(Key{"s1", "d2", accounting::v1::FILTERED, "destination_disabled"}) == 1);
  CHECK(f.Values("destination.d1").size() == 1);
}

}  // namespace
}  // namespace millrace::processor
