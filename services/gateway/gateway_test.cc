#include "services/gateway/gateway.h"

#include <catch2/catch.hpp>

#include "libs/event/event_fields.h"
#include "services/gateway/test_fixture.h"

using namespace millrace;
using namespace millrace::gateway::test;
using gateway::Gateway;

namespace {

const std::string kTrack =
    R"({"messageId":"m1","userId":"u1","anonymousId":"a1","type":"track","event":"E","timestamp":"2026-01-01T00:00:00Z"})";

}  // namespace

TEST_CASE("A whole event is appended byte for byte", "[gateway]") {
  Fixture f;
  const auto response = f.Post("/v1/track", kTrack);
  CHECK(response.status == 200);
  CHECK(response.body == "ok");
  const auto records = f.log.records();
  REQUIRE(records.size() == 1);
  CHECK(records[0].topic == "ingest");
  CHECK(records[0].value == kTrack);
  CHECK(records[0].key == event::UserKey("ws", "u1", "a1"));
  const auto meta = f.Meta(0);
  CHECK(meta.workspace_id() == "ws");
  CHECK(meta.source_id() == "src");
  CHECK(meta.message_id() == "m1");
  CHECK(meta.type() == event::v1::TRACK);
  CHECK(meta.received_at_us() == f.clock.NowMicros());
  CHECK(meta.request_ip() == "192.0.2.7");
  CHECK(meta.user_id() == "u1");
  CHECK(meta.anonymous_id() == "a1");
  CHECK(meta.rejected_reason().empty());
}

TEST_CASE("Every path, with and without slash, names its type", "[gateway]") {
  struct Case {
    std::string path;
    event::v1::EventType type;
  };
  const auto c = GENERATE(values<Case>({{"/v1/identify", event::v1::IDENTIFY},
                                        {"/v1/i", event::v1::IDENTIFY},
                                        {"/v1/track/", event::v1::TRACK},
                                        {"/v1/t", event::v1::TRACK},
                                        {"/v1/page", event::v1::PAGE},
                                        {"/v1/p", event::v1::PAGE},
                                        {"/v1/screen", event::v1::SCREEN},
                                        {"/v1/s", event::v1::SCREEN},
                                        {"/v1/group", event::v1::GROUP},
                                        {"/v1/g/", event::v1::GROUP},
                                        {"/v1/alias", event::v1::ALIAS},
                                        {"/v1/a", event::v1::ALIAS},
                                        {"/v1/merge", event::v1::MERGE}}));
  CAPTURE(c.path);
  Fixture f;
  CHECK(f.Post(c.path, R"({"userId":"u"})").status == 200);
  CHECK(f.Meta(0).type() == c.type);
  event::EventFields fields;
  const std::string value = f.log.records().at(0).value;
  REQUIRE(event::ScanFields(value, &fields).ok());
  CHECK(event::DecodeText(fields.type) == event::EventTypeName(c.type));
  CHECK(event::DecodeText(fields.message_id) == f.Meta(0).message_id());
  CHECK(fields.message_id.size() == 38);
  CHECK(fields.original_timestamp == "\"2026-01-01T00:00:00.000Z\"");
}

TEST_CASE("What is missing is spliced in and the rest stays", "[gateway]") {
  struct Case {
    const char* name;
    std::string path, body, value;
  };
  const auto c = GENERATE(values<Case>({
      {"null anonymousId", "/v1/track",
       R"({"messageId":"m","userId":"u","anonymousId":null,"type":"track","timestamp":"t","n":1.50})",
       R"({"messageId":"m","userId":"u","type":"track","timestamp":"t","n":1.50})"},
      {"type of the path wins", "/v1/page",
       R"({"messageId":"m","userId":"u","type":"track","timestamp":"t"})",
       R"({"messageId":"m","userId":"u","type":"page","timestamp":"t"})"},
      {"numeric user id", "/v1/track",
       R"({"messageId":"m","userId":42,"type":"track","timestamp":"t"})",
       R"({"messageId":"m","userId":42,"type":"track","timestamp":"t"})"},
      {"no time", "/v1/track", R"({"messageId":"m","userId":"u","type":"track"})",
       R"({"originalTimestamp":"2026-01-01T00:00:00.000Z","messageId":"m","userId":"u","type":"track"})"},
      {"huge integer", "/v1/track",
       R"({"messageId":"m","userId":"u","type":"track","timestamp":"t","n":123456789012345678901234567890})",
       R"({"messageId":"m","userId":"u","type":"track","timestamp":"t","n":123456789012345678901234567890})"},
      {"lone surrogate", "/v1/track",
       R"({"messageId":"m","userId":"u","type":"track","timestamp":"t","n":"\ud800"})",
       R"({"messageId":"m","userId":"u","type":"track","timestamp":"t","n":"\ufffd"})"},
  }));
  CAPTURE(c.name);
  Fixture f;
  CHECK(f.Post(c.path, c.body).status == 200);
  CHECK(f.log.records().at(0).value == c.value);
}

TEST_CASE("Status codes and bodies", "[gateway]") {
  struct Case {
    const char* name;
    std::string target, body, key;
    int status;
    std::string answer;
  };
  const std::string ok_batch = R"({"batch":[)" + kTrack + "]}";
  const auto c = GENERATE_COPY(values<Case>({
      {"batch", "/v1/batch", ok_batch, "key", 200, "ok"},
      {"batch with a slash", "/v1/batch/", ok_batch, "key", 200, "ok"},
      {"second key", "/v1/b", ok_batch, "old", 200, "ok"},
      {"import", "/v1/import/", ok_batch, "key", 200, "ok"},
      {"key in the query", "/beacon/v1/batch?writeKey=key", ok_batch, "", 200, "ok"},
      {"escaped key in the query", "/v1/batch?x=1&writeKey=k%65y", ok_batch, "", 200, "ok"},
      {"key in the body", "/v1/batch", R"({"writeKey":"key","batch":[)" + kTrack + "]}", "", 200,
       "ok"},
      {"key in the message", "/v1/batch",
       R"({"batch":[{},{"writeKey":"key","type":"page","userId":"u"}]})", "", 200, "ok"},
      {"key in the event", "/v1/t", R"({"writeKey":"key","userId":"u"})", "", 200, "ok"},
      {"byte order mark", "/v1/batch", "\xef\xbb\xbf" + ok_batch, "key", 200, "ok"},
      {"no key", "/v1/batch", ok_batch, "", 401, "failed to read writekey from header\n"},
      {"no key of a beacon", "/beacon/v1/batch", ok_batch, "", 401,
       "failed to read writekey from query params\n"},
      {"unknown key", "/v1/batch", ok_batch, "nokey", 401, "invalid write key\n"},
      {"unknown key in the body", "/v1/batch", R"({"writeKey":"x","batch":[]})", "", 401,
       "invalid write key\n"},
      {"disabled source", "/v1/batch", ok_batch, "off", 404, "source is disabled\n"},
      {"no body", "/v1/batch", "", "key", 400, "request body is nil\n"},
      {"no JSON", "/v1/batch", "{oops", "key", 400, "invalid json\n"},
      {"two values", "/v1/batch", ok_batch + "{}", "key", 400, "invalid json\n"},
      {"cut", "/v1/batch", ok_batch.substr(0, ok_batch.size() - 2), "key", 400, "invalid json\n"},
      {"broken event", "/v1/batch", R"({"batch":[{"a":1 "b":2}]})", "key", 400, "invalid json\n"},
      {"empty batch", "/v1/batch", R"({"batch":[]})", "key", 400, "empty batch payload\n"},
      {"no batch", "/v1/batch", "{}", "key", 400, "empty batch payload\n"},
      {"batch is no array", "/v1/batch", R"({"batch":{}})", "key", 400, "empty batch payload\n"},
      {"body is an array", "/v1/batch", "[]", "key", 400, "empty batch payload\n"},
      {"nobody", "/v1/track", R"({"event":"E"})", "key", 400,
       "request neither has anonymousId nor userId\n"},
      {"nobody, null", "/v1/track", R"({"userId":null,"anonymousId":""})", "key", 400,
       "request neither has anonymousId nor userId\n"},
      {"event is no object", "/v1/track", "[1]", "key", 400, "event is not a valid rudder event\n"},
      {"nested too deep", "/v1/track",
       R"({"userId":"u","p":)" + std::string(200, '[') + std::string(200, ']') + "}", "key", 400,
       "invalid json\n"},
      {"large event", "/v1/track", R"({"userId":"u","p":")" + std::string(1'000'000, 'x') + "\"}",
       "key", 413, "request size exceeds max limit\n"},
      {"large body", "/v1/batch", std::string(5'000'000, ' '), "key", 413,
       "request size exceeds max limit\n"},
      {"unknown path", "/v1/dance", ok_batch, "key", 404, "no such path\n"},
  }));
  CAPTURE(c.name);
  Fixture f;
  http::Headers headers;
  if (!c.key.empty()) headers.emplace_back("authorization", Basic(c.key));
  const auto response = f.Post(c.target, c.body, headers);
  CHECK(response.status == c.status);
  CHECK(response.body == c.answer);
  CHECK(HeaderOf(response, "Content-Type") == "text/plain; charset=utf-8");
  CHECK(f.log.records().empty() == (c.status != 200));
}

TEST_CASE("One bad event does not cost its batch", "[gateway]") {
  Fixture f;
  const std::string deep = R"({"messageId":"m4","userId":"u","type":"track","p":)" +
                           std::string(200, '[') + std::string(200, ']') + "}";
  const std::string body =
      R"({"sentAt":"2026-01-01T00:00:05Z","batch":[)" + kTrack +
      R"(, 17 ,{"type":"dance","userId":"u"},)" + R"({"type":"track"},)" + deep +
      R"(,{"messageId":"m5","type":"page","userId":"u","timestamp":"t","name":"\udc00"},)" +
      R"({"messageId":"m6","type":"page","userId":"u","timestamp":"t","sentAt":"s"}]})";
  CHECK(f.Post("/v1/batch", body).status == 200);
  REQUIRE(f.log.records().size() == 4);
  for (const size_t good : {0, 2, 3}) CHECK(f.Meta(good).rejected_reason().empty());
  CHECK(f.Meta(0).sent_at_us() == 1'767'225'605'000'000);
  CHECK(f.Meta(3).sent_at_us() == 0);
  CHECK(f.Meta(1).rejected_count() == 4);
  for (const char* reason :
       {"event is not a JSON object (1)", "event has no known type (1)",
        "event has neither anonymousId nor userId (1)", "event is nested deeper than 128 (1)"}) {
    CHECK_THAT(f.Meta(1).rejected_reason(), Catch::Contains(reason));
  }
  CHECK(f.log.records()[2].value ==
        R"({"messageId":"m5","type":"page","userId":"u","timestamp":"t","name":"\ufffd"})");
  CHECK(f.Meta(2).repairs() == 1);
  const std::string metrics = f.metrics.Render();
  CHECK_THAT(metrics, Catch::Contains("millrace_gateway_events_accepted_total{source=\"src\"} 3"));
  CHECK_THAT(metrics, Catch::Contains("millrace_gateway_events_rejected_total{source=\"src\"} 4"));
  CHECK_THAT(metrics, Catch::Contains("millrace_gateway_events_repaired_total{source=\"src\"} 1"));
  CHECK_THAT(metrics, Catch::Contains("millrace_gateway_requests_total{status=\"200\"} 1"));
}

TEST_CASE("An event that no log would take costs only itself", "[gateway]") {
  Fixture f(true, [] {
    settings::v1::GatewaySettings settings;
    settings.set_max_event_bytes(20'000);
    return settings;
  }());
  const std::string good = R"({"type":"track","userId":"u","messageId":"good","event":"E"})";
  const std::string long_id = R"({"type":"track","userId":")" + std::string(5000, 'u') +
                              R"(","messageId":"m1","event":"E"})";
  // Each byte that is no UTF-8 becomes three.
  const std::string grows = R"({"type":"track","userId":"u","messageId":"m2","event":")" +
                            std::string(19'000, '\xff') + "\"}";
  CHECK(f.Post("/v1/batch", R"({"batch":[)" + long_id + "," + good + "]}").status == 200);
  CHECK(f.Post("/v1/batch", R"({"batch":[)" + grows + "," + good + "]}").status == 200);
  REQUIRE(f.log.records().size() == 4);
  CHECK(f.Meta(0).rejected_reason() ==
        "messageId, userId or anonymousId is longer than 4096 bytes");
  CHECK(f.Meta(0).user_id().empty());
  CHECK(f.log.records()[0].key.size() < 100);
  CHECK(f.Meta(1).rejected_reason().empty());
  CHECK(f.Meta(2).rejected_reason() == "event is larger than the limit");
  CHECK(f.Post("/v1/track", long_id).status == 400);
}

TEST_CASE("gzip, whatever the type says", "[gateway]") {
  Fixture f;
  const std::string packed = Gzip(R"({"batch":[)" + kTrack + "]}");
  const http::Headers headers = {{"authorization", Basic("key")},
                                 {"content-type", "application/x-www-form-urlencoded"},
                                 {"content-encoding", "gzip"}};
  CHECK(f.Post("/v1/batch", packed, headers).status == 200);
  CHECK(f.log.records().at(0).value == kTrack);
  CHECK(f.Post("/v1/batch", packed.substr(0, packed.size() / 2), headers).status == 400);
  CHECK(f.Post("/v1/batch", "\x1f\x8b\x08 no gzip at all", headers).status == 400);
  const std::string bomb = Gzip(std::string(100'000'000, ' '));
  REQUIRE(bomb.size() < 200'000);
  CHECK(f.Post("/v1/batch", bomb, headers).status == 413);
  CHECK(f.Post("/v1/batch", "x", {{"authorization", Basic("key")}, {"content-encoding", "br"}})
            .status == 400);
}

TEST_CASE("Browsers are told that they may", "[gateway]") {
  Fixture f;
  http::Request preflight{.method = "OPTIONS", .path = "/v1/track"};
  preflight.headers = {
      {"origin", "https://shop.example"},
      {"access-control-request-headers", "anonymousid,authorization,rsa-retry-attempt"}};
  const auto allowed = f.Send(preflight);
  CHECK(allowed.status == 204);
  CHECK(HeaderOf(allowed, "Access-Control-Allow-Origin") == "https://shop.example");
  CHECK(HeaderOf(allowed, "Access-Control-Allow-Headers") ==
        "anonymousid,authorization,rsa-retry-attempt");
  CHECK(HeaderOf(allowed, "Access-Control-Allow-Credentials") == "true");
  CHECK(HeaderOf(allowed, "Access-Control-Max-Age") == "900");
  const auto refused = f.Post("/v1/track", "{}", {{"origin", "https://shop.example"}});
  CHECK(refused.status == 401);
  CHECK(HeaderOf(refused, "Access-Control-Allow-Origin") == "https://shop.example");
}

TEST_CASE("What SDKs ask for before they send", "[gateway]") {
  Fixture f;
  http::Request request{.method = "GET", .path = "/sourceConfig/", .query = "p=npm&writeKey=key"};
  auto response = f.Send(request);
  CHECK(response.status == 200);
  CHECK_THAT(response.body, Catch::StartsWith(R"({"source":{"id":"src",)") &&
                                Catch::Contains(R"("config":{},"destinations":[])"));
  request.query = "writeKey=nope";
  CHECK(f.Send(request).status == 401);
  http::Request settings{
      .method = "GET", .path = "/v1/projects/key/settings", .headers = {{"host", "in.example:80"}}};
  CHECK_THAT(f.Send(settings).body,
             Catch::Contains(R"("apiKey":"key","apiHost":"in.example:80/v1")"));
}

TEST_CASE("Health and readiness", "[gateway]") {
  Fixture f(false);
  const auto get = [&f](const std::string& path) {
    return f.Send({.method = "GET", .path = path}).status;
  };
  CHECK(get("/health") == 200);
  CHECK(get("/health/live") == 200);
  CHECK(get("/health/ready") == 503);
  CHECK(f.Post("/v1/track", kTrack).status == 503);
  f.SetWorkspace();
  CHECK(get("/health/ready") == 200);
  CHECK(f.Post("/v1/track", kTrack).status == 200);
  CHECK(f.gate->Drain(std::chrono::milliseconds(0)));
  CHECK(get("/health/ready") == 503);
}

TEST_CASE("Acknowledged when the log has it, and not before", "[gateway]") {
  Fixture f;
  f.log.Hold();
  auto answered = std::make_shared<Answered>();
  http::Request request{
      .method = "POST", .path = "/v1/track", .headers = {{"authorization", Basic("key")}}};
  request.body = Bytes(kTrack);
  f.gate->Handle(request, http::Responder(answered));
  CHECK_FALSE(answered->response().has_value());
  CHECK_FALSE(f.gate->Drain(std::chrono::milliseconds(0)));
  f.log.Release();
  REQUIRE(answered->response().has_value());
  CHECK(answered->response()->status == 200);
  CHECK(f.gate->Drain(std::chrono::milliseconds(0)));
}

TEST_CASE("A log that cannot take it", "[gateway]") {
  Fixture f;
  const auto code =
      GENERATE(StatusCode::kUnavailable, StatusCode::kResourceExhausted, StatusCode::kInternal);
  f.log.FailWith(MakeStatus(code, "no"));
  const auto response = f.Post("/v1/track", kTrack);
  CHECK(response.status == 503);
  CHECK(response.body == "service unavailable\n");
  CHECK_FALSE(HeaderOf(response, "Retry-After").empty());
  f.log.FailWith(MakeStatus(StatusCode::kInvalidArgument, "too large"));
  CHECK(f.Post("/v1/track", kTrack).status == 413);
  CHECK(f.log.records().empty());
}

TEST_CASE("A gateway whose log takes nothing for 5 s says that it is not ready", "[gateway]") {
  Fixture f;
  CHECK(f.gate->Ready());
  f.log.FailWith(MakeStatus(StatusCode::kUnavailable, "away"));
  const auto refused = f.Post("/v1/track", kTrack);
  CHECK(refused.status == 503);
  CHECK_FALSE(HeaderOf(refused, "Retry-After").empty());
  CHECK(f.gate->Ready());  // that may pass
  f.clock.Advance(std::chrono::seconds(6));
  f.Post("/v1/track", kTrack);
  CHECK_FALSE(f.gate->Ready());
  f.clock.Advance(std::chrono::seconds(11));
  CHECK(f.gate->Ready());  // nobody has asked for long: it may be tried
  f.Post("/v1/track", kTrack);
  CHECK(f.gate->Ready());
  f.clock.Advance(std::chrono::seconds(6));
  f.Post("/v1/track", kTrack);
  CHECK_FALSE(f.gate->Ready());
  f.log.FailWith(OkStatus());
  CHECK(f.Post("/v1/track", kTrack).status == 200);
  CHECK(f.gate->Ready());
}

TEST_CASE("Events over gRPC follow the same rules", "[gateway]") {
  Fixture f;
  struct Result {
    Status status;
    Gateway::Taken taken;
  };
  const auto take = [&f](std::string_view key, const std::vector<std::string_view>& events) {
    Result result;
    f.gate->TakeEvents(key, events, "192.0.2.7", [&result](Status status, Gateway::Taken taken) {
      result = {std::move(status), taken};
    });
    return result;
  };
  const auto result = take("key", {kTrack, R"({"type":"track"})", "{oops",
                                   R"({"type":"page","userId":"\ud800"})", "{} {}", ""});
  CHECK(result.status.ok());
  CHECK(result.taken.accepted == 2);
  CHECK(result.taken.rejected == 4);
  CHECK(f.Meta(1).rejected_count() == 4);
  CHECK_THAT(f.Meta(1).rejected_reason(), Catch::Contains("event is not JSON (3)"));
  CHECK_THAT(f.log.records().at(1).value, Catch::Contains("{oops"));
  CHECK(take("nope", {kTrack}).status.code() == StatusCode::kUnauthenticated);
  CHECK(take("off", {kTrack}).status.code() == StatusCode::kFailedPrecondition);
  CHECK(take("key", {}).status.code() == StatusCode::kInvalidArgument);
}
