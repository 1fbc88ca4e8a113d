// What one request may cost: events, keys, letters for what is refused, time of the I/O thread.

#include <catch2/catch.hpp>
#include <simdjson.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include "services/gateway/test_fixture.h"

using namespace millrace;
using namespace millrace::gateway::test;

namespace {

std::string Repeat(std::string_view text, size_t times, std::string_view between = ",") {
  std::string all;
  for (size_t i = 0; i < times; ++i) {
    if (i > 0) all += between;
    all += text;
  }
  return all;
}

std::string Batch(const std::string& events) {
  return R"({"batch":[)" + events + "]}";
}

constexpr std::string_view kGood = R"({"type":"track","userId":"u","event":"E","timestamp":"t"})";

// Notes which thread appends, and holds it up when told to.
class Watched final : public event_log::Appender {
 public:
  struct State {
    std::atomic<std::thread::id> thread{};
    std::atomic<bool> hold{false};
    std::promise<void> held;
    std::promise<void> release;
  };
  explicit Watched(std::shared_ptr<State> state) : state_(std::move(state)) {}
  void Append(std::span<const event_log::TopicRecord>, event_log::Done done) override {
    state_->thread = std::this_thread::get_id();
    if (state_->hold.exchange(false)) {
      state_->held.set_value();
      state_->release.get_future().wait();
    }
    done(OkStatus());
  }

 private:
  const std::shared_ptr<State> state_;
};

std::shared_ptr<Answered> SendLater(Fixture& f, std::string body) {
  auto answered = std::make_shared<Answered>();
  f.gate->Handle(Fixture::Request("/v1/batch", std::move(body), {{"authorization", Basic("key")}}),
                 http::Responder(answered));
  return answered;
}

simdjson::dom::element Parse(simdjson::dom::parser& parser, const std::string& text) {
  simdjson::dom::element parsed;
  REQUIRE(parser.parse(text).get(parsed) == simdjson::SUCCESS);
  return parsed;
}

}  // namespace

TEST_CASE("A request with more events than it may have gets a 413", "[gateway][bounds]") {
  struct Case {
    const char* name;
    std::string body;
    int status;
  };
  const auto c = GENERATE(values<Case>({
      {"as many as it may have", Batch(Repeat(kGood, 2500)), 200},
      {"one more", Batch(Repeat(kGood, 2501)), 413},
      {"the default's number of empty ones", Batch(Repeat("{}", 2500)), 200},
      {"one more, of nothing", Batch(Repeat("{}", 2501)), 413},
      {"a million", Batch(Repeat("1", 1'300'000)), 413},
      {"a million, packed", Gzip(Batch(Repeat("{}", 1'300'000))), 413},
      {"a million, not JSON after them", Batch(Repeat("1", 1'300'000)) + "}", 413},
  }));
  CAPTURE(c.name);
  Fixture f;
  const auto response = f.Post("/v1/batch", c.body);
  CHECK(response.status == c.status);
  if (c.status == 200) return;
  CHECK_THAT(response.body, Catch::Contains("at most 2500 events"));
  CHECK(f.log.records().empty());
}

TEST_CASE("The bound of events is a setting, over gRPC too", "[gateway][bounds]") {
  settings::v1::GatewaySettings settings;
  settings.set_max_batch_events(3);
  Fixture f(true, settings);
  CHECK(f.Post("/v1/batch", Batch(Repeat(kGood, 3))).status == 200);
  CHECK(f.Post("/v1/batch", Batch(Repeat(kGood, 4))).status == 413);
  const std::vector<std::string_view> events(4, kGood);
  Status seen;
  f.gate->TakeEvents("key", events, "", [&](const Status& status, auto) { seen = status; });
  CHECK(seen.code() == StatusCode::kInvalidArgument);
  CHECK(f.log.records().size() == 3);
}

TEST_CASE("An event with too many keys costs itself alone", "[gateway][bounds]") {
  const auto many = [](const std::string& keys) {
    return R"({"type":"track","userId":"u","event":"E","timestamp":"t","properties":{)" + keys +
           "}}";
  };
  Fixture f;
  const std::string flat = many(Repeat(R"("k":1)", 9990));
  const std::string too_many = many(Repeat(R"("k":1)", 10'000));
  const std::string nested = many("\"list\":[" + Repeat(R"({"a":1,"b":{"c":2}})", 4000) + "]");
  const std::string colons = many(R"("text":")" + std::string(60'000, ':') + "\"");
  CHECK(f.Post("/v1/track", flat).status == 200);
  CHECK(f.Post("/v1/track", colons).status == 200);
  CHECK(f.Post("/v1/track", too_many).status == 413);
  CHECK(f.Post("/v1/track", nested).status == 413);
  f.log.Clear();
  CHECK(f.Post("/v1/batch", Batch(std::string(kGood) + "," + too_many)).status == 200);
  CHECK(f.log.records().size() == 2);
  CHECK(f.Meta(0).rejected_reason().empty());
  CHECK(f.Meta(1).rejected_reason() == "event has more keys than the limit");
}

TEST_CASE("The refused events of a request are one record that counts them", "[gateway][bounds]") {
  Fixture f;
  const std::string refused = R"({"type":"dance","userId":"u"})";
  const std::string nobody = R"({"type":"track","event":"E"})";
  const std::string batch = Repeat(kGood, 2) + "," + Repeat(refused, 1000) + "," +
                            Repeat(nobody, 3) + "," + std::string(kGood);
  REQUIRE(f.Post("/v1/batch", Batch(batch)).status == 200);
  const auto records = f.log.records();
  REQUIRE(records.size() == 4);
  CHECK(f.Meta(0).rejected_reason().empty());
  CHECK(f.Meta(3).rejected_reason().empty());
  const auto meta = f.Meta(2);
  CHECK(meta.rejected_count() == 1003);
  CHECK(
      meta.rejected_reason() ==
      "1003 events of one request were refused: event has no known type (1000), event has neither "
      "anonymousId nor userId (3)");
  CHECK(meta.source_id() == "src");
  CHECK(meta.workspace_id() == "ws");
  CHECK_FALSE(meta.message_id().empty());
  simdjson::dom::parser parser;
  const auto value = Parse(parser, records[2].value);
  CHECK(uint64_t(value["refused"]) == 1003);
  CHECK(uint64_t(value["reasons"]["event has no known type"]) == 1000);
  CHECK(simdjson::dom::array(value["samples"]).size() == 5);
  CHECK(std::string_view(value["samples"].at(0)) == refused);
  const std::string metrics = f.metrics.Render();
  CHECK_THAT(metrics, Catch::Contains("events_rejected_total{source=\"src\"} 1003"));
  CHECK_THAT(metrics, Catch::Contains("events_accepted_total{source=\"src\"} 3"));
}

TEST_CASE("One refused event of a request is a record of its own", "[gateway][bounds]") {
  Fixture f;
  const std::string refused = R"({"type":"dance","userId":"u"})";
  REQUIRE(f.Post("/v1/batch", Batch(refused + "," + std::string(kGood))).status == 200);
  CHECK(f.Meta(0).rejected_count() == 0);
  CHECK(f.Meta(0).rejected_reason() == "event has no known type");
  CHECK(f.log.records()[0].value == refused);
}

TEST_CASE("Samples of what is refused are JSON whatever was sent", "[gateway][bounds]") {
  Fixture f;
  // Cut within a character, and with bytes that are no UTF-8.
  const std::string odd =
      R"({"type":"dance","userId":"\ud800)" + Repeat("\xe7\x94\xb0", 3000, "") + "\xff\"}";
  REQUIRE(f.Post("/v1/batch", Batch(odd + "," + odd)).status == 200);
  REQUIRE(f.log.records().size() == 1);
  simdjson::dom::parser parser;
  CHECK(uint64_t(Parse(parser, f.log.records()[0].value)["refused"]) == 2);
  CHECK(f.log.records()[0].value.size() < 40'000);
}

TEST_CASE("Large bodies are worked on another thread than the one that reads",
          "[gateway][bounds]") {
  const std::string large = Batch(
      Repeat(R"({"type":"track","userId":"u","event":")" + std::string(1000, 'e') + "\"}", 500));
  struct Case {
    const char* name;
    std::string body;
    bool here;
  };
  const auto c = GENERATE_REF(values<Case>({
      {"small", Batch(std::string(kGood)), true},
      {"small, packed", Gzip(Batch(std::string(kGood))), true},
      {"large", large, false},
      {"large, packed small", Gzip(large), false},
  }));
  CAPTURE(c.name);
  const auto state = std::make_shared<Watched::State>();
  Fixture f(true, {}, std::make_unique<Watched>(state));
  CHECK(f.Post("/v1/batch", c.body).status == 200);
  CHECK((state->thread.load() == std::this_thread::get_id()) == c.here);
}

TEST_CASE("When too many large bodies wait the next gets a 503, a small one does not",
          "[gateway][bounds]") {
  const auto state = std::make_shared<Watched::State>();
  Fixture f(true, {}, std::make_unique<Watched>(state));
  const std::string large =
      Batch(R"({"type":"track","userId":"u","event":")" + std::string(200'000, 'e') + "\"}");
  state->hold = true;
  std::vector<std::shared_ptr<Answered>> taken;
  taken.push_back(SendLater(f, large));
  state->held.get_future().wait();  // the worker is busy
  for (int i = 0; i < 64; ++i) taken.push_back(SendLater(f, large));
  const auto refused = SendLater(f, large)->Wait();
  CHECK(refused.status == 503);
  CHECK_FALSE(HeaderOf(refused, "Retry-After").empty());
  state->release.set_value();
  for (const auto& one : taken) CHECK(one->Wait().status == 200);
  CHECK(f.Post("/v1/batch", large).status == 200);
}

TEST_CASE("Only small plain bodies may be overtaken by the next request", "[gateway][bounds]") {
  const auto options = gateway::Gateway::ServerOptionsOf({});
  const auto pipelined = [&](std::string method, const std::string& path, std::string body) {
    auto request = Fixture::Request(path, std::move(body), {});
    request.method = std::move(method);
    return options.pipelined(request);
  };
  CHECK(pipelined("POST", "/v1/track", std::string(kGood)));
  CHECK_FALSE(pipelined("POST", "/v1/batch", std::string(200'000, ' ')));
  CHECK_FALSE(pipelined("POST", "/v1/batch", Gzip(kGood)));
  CHECK_FALSE(pipelined("POST", "/api/v1/workspace", "{}"));
  CHECK_FALSE(pipelined("GET", "/metrics", ""));
}

TEST_CASE("Sources of a destination without room get a 503 until there is room",
          "[gateway][bounds]") {
  std::string full;
  Fixture f(true, {}, nullptr, [&](const gateway::SourceEntry& source) {
    return source.destinations == std::vector<std::string>{full};
  });
  CHECK(f.Post("/v1/track", std::string(kGood)).status == 200);
  full = "dst";
  const auto refused = f.Post("/v1/track", std::string(kGood));
  CHECK(refused.status == 503);
  CHECK_FALSE(HeaderOf(refused, "Retry-After").empty());
  CHECK_THAT(refused.body, Catch::Contains("a destination of the source"));
  const std::string keyed = R"({"writeKey":"key","batch":[)" + std::string(kGood) + "]}";
  CHECK(f.Post("/v1/batch", keyed, {}).status == 503);
  const std::vector<std::string_view> events = {kGood};
  Status seen;
  f.gate->TakeEvents("key", events, "", [&](const Status& status, auto) { seen = status; });
  CHECK(seen.code() == StatusCode::kUnavailable);
  full.clear();
  CHECK(f.Post("/v1/track", std::string(kGood)).status == 200);
  CHECK(f.log.records().size() == 2);
}

TEST_CASE("The series of a deleted source go", "[gateway][bounds]") {
  Fixture f;
  REQUIRE(f.Post("/v1/track", std::string(kGood)).status == 200);
  CHECK_THAT(f.metrics.Render(), Catch::Contains("{source=\"src\"}"));
  f.config.Set(std::make_shared<config::v1::Workspace>());
  CHECK(f.metrics.Render().find("{source=\"src\"}") == std::string::npos);
}
