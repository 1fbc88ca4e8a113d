#include <catch2/catch.hpp>

#include <filesystem>
#include <map>
#include <string>

#include "services/processor/processor_fixture.h"

namespace millrace::processor {
namespace {

TEST_CASE("What travels beside an event stays small, however long its name", "[processor]") {
  Fixture f;
  f.Start();
  f.Send("s1", "long", R"(,"event":")" + std::string(5000, 'x') + "\"");
  (void)f.WaitUntilCounted();
  f.Stop();
  f.metas.clear();
  REQUIRE(f.Values("destination.d1").size() == 1);
  CHECK(f.metas[0].size() < 2000);
  delivery::v1::DeliveryMeta meta;
  REQUIRE(meta.ParseFromString(f.metas[0]));
  CHECK(meta.event_name() == std::string(1024, 'x'));
}

TEST_CASE("A batch whose outputs find no room in the log is moved in parts", "[processor]") {
  Fixture f;
  f.OpenLog({.path = f.folder.path() + "/small",
             .quota_bytes = 4 << 20,
             .segment_bytes = 256 << 10,
             .closing_topics = {"dedup", "counters"}});
  for (int i = 0; i < 12; ++i) {
    const std::string text(100'000, 'x');
    f.Send("s1", std::to_string(i), R"(,"properties":{"text":")" + text + R"("})");
  }
  f.Start();  // two destinations: twice as much as was read
  (void)f.WaitUntilCounted();
  f.Stop();
  CHECK(f.Values("destination.d1").size() == 12);
  CHECK(f.Values("destination.d2").size() == 12);
}

TEST_CASE("Every event is counted once and goes where it belongs", "[processor]") {
  Fixture f;
  f.Start();
  f.Send("s1", "plain");
  f.Send("s1", "plain");
  f.Send("s1", "only-d2", R"(,"integrations":{"All":false,"d2":true})");
  f.Send("s1", "odd", R"(,"integrations":{"All":"yes"})");
  f.Send("lonely", "l1");
  f.Send("deleted", "x1");
  f.Send("s1", "bad", "", "event is too deep");
  const Counts counts = f.WaitUntilCounted();
  f.Stop();

  CHECK(counts == Counts{
                      {{"s1", "", accounting::v1::ACCEPTED, ""}, 5},
                      {{"lonely", "", accounting::v1::ACCEPTED, ""}, 1},
                      {{"deleted", "", accounting::v1::ACCEPTED, ""}, 1},
                      {{"s1", "", accounting::v1::DUPLICATE, ""}, 1},
                      {{"s1", "", accounting::v1::PASSED_ON, ""}, 3},
                      {{"s1", "d1", accounting::v1::PASSED_ON, ""}, 3},
                      {{"s1", "d2", accounting::v1::PASSED_ON, ""}, 3},
                      {{"s1", "off", accounting::v1::PASSED_ON, ""}, 3},
                      {{"s1", "d1", accounting::v1::ROUTED, ""}, 2},
                      {{"s1", "d1", accounting::v1::FILTERED, "integrations_object"}, 1},
                      {{"s1", "d2", accounting::v1::ROUTED, ""}, 3},
                      {{"s1", "off", accounting::v1::FILTERED, "destination_disabled"}, 3},
                      {{"lonely", "", accounting::v1::SOURCE_FILTERED, "no_connection"}, 1},
                      {{"deleted", "", accounting::v1::SOURCE_DEAD_LETTERED, "source_unknown"}, 1},
                      {{"s1", "", accounting::v1::SOURCE_DEAD_LETTERED, "rejected_by_gateway"}, 1},
                  });
  CHECK(f.Values("destination.off").empty());
  CHECK(f.Values("destination.d2").size() == 3);
  f.metas.clear();
  const auto values = f.Values("destination.d1");
  REQUIRE(values.size() == 2);
  CHECK(values[0].find(R"("receivedAt":")") != std::string::npos);
  delivery::v1::DeliveryMeta meta;
  REQUIRE(meta.ParseFromString(f.metas[0]));
  CHECK(meta.workspace_id() == "w1");
  CHECK(meta.source_id() == "s1");
  CHECK(meta.destination_id() == "d1");
  CHECK(meta.type() == event::v1::TRACK);
  CHECK(meta.event_name() == "Bought");
  CHECK(meta.received_at_us() > 0);

  std::map<std::string, delivery::v1::DeadLetter> letters;
  for (const std::string& value : f.Values(std::string(event_log::kDeadLetterTopic))) {
    delivery::v1::DeadLetter letter;
    REQUIRE(letter.ParseFromString(value));
    letters[letter.message_id()] = letter;
  }
  REQUIRE(letters.size() == 2);
  CHECK(letters["bad"].stage() == "gateway");
  CHECK(letters["bad"].reason() == "event is too deep");
  CHECK(letters["x1"].stage() == "processor");
  CHECK(letters["x1"].reason() == "the source is not in the workspace any more");
  CHECK(letters["x1"].user_key() == "user-x1");
  CHECK(f.metrics.Render().find("millrace_processor_bad_integrations_total 1") !=
        std::string::npos);
}

TEST_CASE("A record that stands for many refused events is counted as many", "[processor]") {
  Fixture f;
  f.Start();
  event::v1::EventMeta meta;
  meta.set_workspace_id("w1");
  meta.set_source_id("s1");
  meta.set_message_id("sum");
  meta.set_rejected_reason("1003 events of one request were refused");
  meta.set_rejected_count(1003);
  f.Append("nobody", meta, R"({"refused":1003,"reasons":{},"samples":[]})");
  f.sent += 1002;
  f.Send("s1", "bad", "", "event is too deep");
  const Counts counts = f.WaitUntilCounted();
  f.Stop();
  CHECK(counts ==
        Counts{{{"s1", "", accounting::v1::ACCEPTED, ""}, 1004},
               {{"s1", "", accounting::v1::BEYOND_RECORD, ""}, 1002},
               {{"s1", "", accounting::v1::SOURCE_DEAD_LETTERED, "rejected_by_gateway"}, 1004}});
  std::map<std::string, uint32_t> letters;
  for (const std::string& value : f.Values(std::string(event_log::kDeadLetterTopic))) {
    delivery::v1::DeadLetter letter;
    REQUIRE(letter.ParseFromString(value));
    letters[letter.message_id()] = letter.count();
  }
  CHECK(letters == std::map<std::string, uint32_t>{{"sum", 1003}, {"bad", 0}});
}

TEST_CASE("A record that a gateway appended and that does not come is noticed, over restarts too",
          "[processor]") {
  Fixture f;
  const auto send = [&f](uint64_t number) {
    event::v1::EventMeta meta;
    meta.set_workspace_id("w1");
    meta.set_source_id("s1");
    meta.set_message_id("m" + std::to_string(number));
    meta.set_received_at_us(SystemClock().NowMicros());
    meta.set_gateway("g");
    meta.set_gateway_started_at_us(7);
    meta.set_gateway_sequence(number);
    f.Append("user", meta, R"({"type":"track","event":"Bought"})");
  };
  // The partition of that user.
  const auto lost = [&f] {
    const std::string metrics = f.metrics.Render();
    return std::min(metrics.find("millrace_processor_lost_records{partition=\"0\"} 1\n"),
                    metrics.find("millrace_processor_lost_records{partition=\"1\"} 1\n")) <
           metrics.size();
  };
  f.Start();
  send(1);
  send(2);
  (void)f.WaitUntilCounted();
  CHECK_FALSE(lost());
  send(4);
  (void)f.WaitUntilCounted();
  f.Stop();
  f.Start();
  send(5);
  (void)f.WaitUntilCounted();
  f.Stop();
  CHECK(lost());
  CHECK(Fixture::Of(f.Counted(), accounting::v1::LOST_RECORD) == 1);
  SECTION("unless it comes late, out of a spill") {
    send(3);
    f.Start();
    (void)f.WaitUntilCounted();
    f.Stop();
    CHECK_FALSE(lost());
    CHECK(Fixture::Of(f.Counted(), accounting::v1::LOST_RECORD) == 0);
  }
}

TEST_CASE("An error at any step neither loses nor repeats an event", "[processor]") {
  const std::string failpoint = GENERATE("processor.after_poll", "processor.after_transform",
                                         "processor.before_commit", "processor.after_commit");
  CAPTURE(failpoint);
  Fixture f;
  f.Send("s1", "m0");
  REQUIRE(ArmFailpoints(failpoint + ":2:error").ok());
  f.Start();
  f.WaitUntilCounted();
  for (int i = 1; i < 20; ++i) f.Send("s1", "m" + std::to_string(i));
  f.WaitUntilCounted();
  for (int i = 0; i < 20; ++i) f.Send("s1", "m" + std::to_string(i));  // all sent again
  const Counts counts = f.WaitUntilCounted();
  f.Stop();
  CHECK(Fixture::Of(counts, accounting::v1::ACCEPTED) == 40);
  CHECK(Fixture::Of(counts, accounting::v1::ROUTED, "d1") == 20);
  CHECK(Fixture::Of(counts, accounting::v1::DUPLICATE) == 20);
  CHECK(f.Values("destination.d1").size() == 20);
}

TEST_CASE("A new processor goes on where the old one stopped", "[processor]") {
  Fixture f;
  const bool lose_state = GENERATE(false, true);
  const uint32_t workers = GENERATE(1u, 2u);
  CAPTURE(lose_state, workers);
  f.Start();
  for (int i = 0; i < 10; ++i) f.Send("s1", "m" + std::to_string(i));
  f.WaitUntilCounted();
  f.Stop();
  if (lose_state) std::filesystem::remove_all(f.folder.path() + "/processor");
  for (int i = 5; i < 15; ++i) f.Send("s1", "m" + std::to_string(i));
  f.Start(workers);
  const Counts counts = f.WaitUntilCounted();
  f.Stop();
  const int64_t duplicates = Fixture::Of(counts, accounting::v1::DUPLICATE);
  if (lose_state) {  // with the folder ids are forgotten, events never
    CHECK(duplicates <= 5);
  } else {
    CHECK(duplicates == 5);
  }
  CHECK(Fixture::Of(counts, accounting::v1::ROUTED, "d1") == 20 - duplicates);
  CHECK(f.Values("destination.d1").size() == static_cast<size_t>(20 - duplicates));
}

TEST_CASE("Without a configuration nothing is read; then all of it is", "[processor]") {
  Fixture f(nullptr);
  f.Send("s1", "m1");
  f.Start();
  CHECK((*f.log->Committed("processor", std::string(event_log::kIngestTopic)))[0].offset == -1);
  f.MakeTopics(*TestWorkspace());
  f.config->Set(TestWorkspace());
  CHECK(Fixture::Of(f.WaitUntilCounted(), accounting::v1::ROUTED, "d1") == 1);
  auto grown = TestWorkspace();
  auto* destination = grown->add_destinations();
  destination->set_id("new");
  destination->set_type("WEBHOOK");
  destination->set_enabled(true);
  auto* connection = grown->add_connections();
  connection->set_source_id("s1");
  connection->set_destination_id("new");
  connection->set_enabled(true);
  f.Configure(grown);
  f.Send("s1", "m2");
  CHECK(Fixture::Of(f.WaitUntilCounted(), accounting::v1::ROUTED, "new") == 1);
  f.Stop();
}

TEST_CASE("Settings that cannot be are refused by name", "[processor]") {
  Fixture f;
  settings::v1::ProcessorSettings settings;
  const auto create = [&] {
    return Processor::Create(settings, {.log = *f.log,
                                        .clock = SystemClock(),
                                        .metrics = f.metrics,
                                        .workspace = *f.config,
                                        .types = [](std::string_view) { return nullptr; }})
        .status();
  };
  CHECK(std::string(Message(create())).find("state_dir") != std::string::npos);
  settings.set_state_dir(f.folder.path());
  settings.set_workers(10'000);
  CHECK(std::string(Message(create())).find("workers") != std::string::npos);
}

}  // namespace
}  // namespace millrace::processor
