#include "services/processor/normalise_stage.h"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

#include "libs/base/clock.h"

namespace millrace::processor {
namespace {

// 2026-01-02T03:04:05.678Z, when every event here is received.
constexpr int64_t kReceived = 1'767'323'045'678'000;

EventBatch BatchOf(std::string_view json) {
  EventBatch batch;
  Event& event = batch.events.emplace_back();
  event.meta.set_message_id("m1");
  event.meta.set_user_id("u1");
  event.meta.set_received_at_us(kReceived);
  event.bytes = Bytes(std::string(json));
  return batch;
}

TEST_CASE("The clock of the client is corrected", "[normalise]") {
  struct Case {
    const char* name;
    const char* members;  // of the event
    const char* request_sent;
    const char* timestamp;
    const char* original;
    const char* sent;
  };
  const char* const received = "2026-01-02T03:04:05.678Z";
  const auto c = GENERATE_COPY(values<Case>({
      {"nothing given", "", "", received, received, received},
      {"only sentAt: no original to correct", R"("sentAt":"2026-01-02T03:04:00.000Z")", "",
       "2026-01-02T03:04:11.356Z", received, "2026-01-02T03:04:00.000Z"},
      {"only originalTimestamp", R"("originalTimestamp":"2026-01-02T03:03:05.678Z")", "",
       "2026-01-02T03:03:05.678Z", "2026-01-02T03:03:05.678Z", received},
      {"both, a clock that is right",
       R"("originalTimestamp":"2026-01-02T03:04:00Z","sentAt":"2026-01-02T03:04:05Z")", "",
       "2026-01-02T03:04:00.678Z", "2026-01-02T03:04:00Z", "2026-01-02T03:04:05Z"},
      {"both, a clock two hours ahead",
       R"("originalTimestamp":"2026-01-02T05:04:00Z","sentAt":"2026-01-02T05:04:05Z")", "",
       "2026-01-02T03:04:00.678Z", "2026-01-02T05:04:00Z", "2026-01-02T05:04:05Z"},
      {"both, a clock a day behind",
       R"("originalTimestamp":"2026-01-01T03:04:00Z","sentAt":"2026-01-01T03:04:05Z")", "",
       "2026-01-02T03:04:00.678Z", "2026-01-01T03:04:00Z", "2026-01-01T03:04:05Z"},
      {"sent before it happened: a negative skew",
       R"("originalTimestamp":"2026-01-02T03:04:10Z","sentAt":"2026-01-02T03:04:05Z")", "",
       "2026-01-02T03:04:10.678Z", "2026-01-02T03:04:10Z", "2026-01-02T03:04:05Z"},
      {"timestamp given: kept", R"("timestamp":"2020-05-05T05:05:05.000Z")", "",
       "2020-05-05T05:05:05.000Z", received, received},
      {"timestamp given beside the others",
       R"("timestamp":"2020-05-05T05:05:05Z","originalTimestamp":"2026-01-02T05:04:00Z",)"
       R"("sentAt":"2026-01-02T05:04:05Z")",
       "", "2020-05-05T05:05:05Z", "2026-01-02T05:04:00Z", "2026-01-02T05:04:05Z"},
      {"timestamp in another zone", R"("timestamp":"2020-05-05T05:05:05+02:00")", "",
       "2020-05-05T05:05:05+02:00", received, received},
      {"timestamp null", R"("timestamp":null)", "", received, received, received},
      {"timestamp empty", R"("timestamp":"")", "", received, received, received},
      {"timestamp that is none", R"("timestamp":"yesterday")", "", received, received, received},
      {"timestamp a number", R"("timestamp":17)", "", received, received, received},
      {"originalTimestamp that is none", R"("originalTimestamp":"soon")", "", received, received,
       received},
      {"sentAt that is none", R"("sentAt":{})", "", received, received, received},
      {"sentAt of the request", R"("originalTimestamp":"2026-01-02T05:04:00Z")",
       "2026-01-02T05:04:05Z", "2026-01-02T03:04:00.678Z", "2026-01-02T05:04:00Z",
       "2026-01-02T05:04:05.000Z"},
      {"the event's own sentAt goes before the request's",
       R"("originalTimestamp":"2026-01-02T03:04:00Z","sentAt":"2026-01-02T03:04:05Z")",
       "2026-01-02T09:00:00Z", "2026-01-02T03:04:00.678Z", "2026-01-02T03:04:00Z",
       "2026-01-02T03:04:05Z"},
      {"no zone: UTC",
       R"("originalTimestamp":"2026-01-02T03:04:00","sentAt":"2026-01-02T03:04:05")", "",
       "2026-01-02T03:04:00.678Z", "2026-01-02T03:04:00", "2026-01-02T03:04:05"},
      {"the last of two keys counts",
       R"("timestamp":"2020-01-01T00:00:00Z","timestamp":"2021-01-01T00:00:00Z")", "",
       "2021-01-01T00:00:00Z", received, received},
  }));
  CAPTURE(c.name);
  const std::string json = std::string("{") + c.members + "}";
  EventBatch batch = BatchOf(json);
  Event& event = batch.events[0];
  if (*c.request_sent != '\0') {
    int64_t sent = 0;
    REQUIRE(ParseTimestamp(c.request_sent, &sent));
    event.meta.set_sent_at_us(sent);
  }

  REQUIRE(NormaliseStage().Run(batch).ok());
  REQUIRE(event.live());
  CHECK(event::DecodeText(event.fields.timestamp) == c.timestamp);
  CHECK(event::DecodeText(event.fields.original_timestamp) == c.original);
  CHECK(event::DecodeText(event.fields.sent_at) == c.sent);
  CHECK(event::DecodeText(event.fields.received_at) == received);
}

TEST_CASE("Ids and the address are put in, the rest of the bytes stays", "[normalise]") {
  EventBatch batch = BatchOf(R"({"type":"track", "properties": {"a" : 1.50}})");
  Event& event = batch.events[0];
  event.meta.set_request_ip("192.0.2.7");
  REQUIRE(NormaliseStage().Run(batch).ok());
  CHECK(event::DecodeText(event.fields.message_id) == "m1");
  CHECK(event::DecodeText(event.fields.request_ip) == "192.0.2.7");
  CHECK(event.fields.properties == R"({"a" : 1.50})");
  // MD5 of "u1:" with the bits of UUID version and variant.
  CHECK(event.bytes.view().find(R"("rudderId":"5eff0fc3-0944-48fa-9c04-38f62e3890ca")") !=
        std::string::npos);
}

TEST_CASE("What the gateway refused, and what is no object, goes to the dead letters",
          "[normalise]") {
  EventBatch batch = BatchOf("{oops");
  batch.events[0].meta.set_rejected_reason("event is not JSON");
  Event& odd = batch.events.emplace_back();
  odd.bytes = Bytes("[1]");
  REQUIRE(NormaliseStage().Run(batch).ok());
  CHECK(batch.events[0].state == EventState::kDeadLettered);
  CHECK(batch.events[0].stage == "gateway");
  CHECK(batch.events[0].fault == "event is not JSON");
  CHECK(batch.events[1].state == EventState::kDeadLettered);
  CHECK(batch.events[1].reason == "invalid_json");
}

}  // namespace
}  // namespace millrace::processor
