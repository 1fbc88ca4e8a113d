// The router on the local log, delivering over real sockets.
#include "services/router/router.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <utility>

#include "libs/base/ids.h"
#include "libs/event_log/local/local_log.h"
#include "libs/http/server.h"
#include "libs/pipeline/topology.h"
#include "libs/transports/http/http_transport.h"
#include "millrace/accounting/v1/accounting.pb.h"
#include "millrace/delivery/v1/delivery.pb.h"

namespace millrace::router {
namespace {

using std::chrono::milliseconds;

/// Answers each request by what `answer` says; keeps the bodies.
class Sink {
 public:
  explicit Sink(std::function<http::Response(const http::Request&)> answer)
      : answer_(std::move(answer)) {
    auto server = http::Server::Start({}, [this](http::Request request, http::Responder responder) {
      http::Response response;
      {
        const std::lock_guard lock(mu_);
        bodies_.emplace_back(request.body.view());
        keys_.emplace_back(request.Header("idempotency-key"));
        response = answer_(request);
      }
      responder.Send(std::move(response));
    });
    REQUIRE(server.ok());
    server_ = *std::move(server);
  }
  ~Sink() { server_->Stop(milliseconds(1000)); }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(server_->port()) + "/"; }
  std::vector<std::string> bodies() {
    const std::lock_guard lock(mu_);
    return bodies_;
  }
  std::vector<std::string> keys() {
    const std::lock_guard lock(mu_);
    return keys_;
  }

 private:
  std::mutex mu_;
  std::function<http::Response(const http::Request&)> answer_;
  std::vector<std::string> bodies_, keys_;
  std::unique_ptr<http::Server> server_;
};

/// Makes one POST of the event's text to the address in the configuration, but declines "filter",
/// refuses "broken", and makes two requests of "twice".
class TextMapper final : public destination::Mapper {
 public:
  explicit TextMapper(std::string url) : url_(std::move(url)) {}
  void Map(std::vector<destination::MapInput> inputs, destination::MapDone done) override {
    std::vector<destination::MapResult> results;
    for (const auto& input : inputs) {
      auto& result = results.emplace_back();
      const std::string text(input.event.view());
      if (text == "filter") continue;
      if (text == "broken") {
        result.error = "TypeError: x is undefined";
        result.stack = "at map (mapping.js:1)";
        continue;
      }
      result.requests.push_back({.url = url_, .body = text});
      if (text == "twice") result.requests.push_back({.url = url_, .body = "twice, second"});
    }
    done(std::move(results));
  }

 private:
  const std::string url_;
};

class FixedWorkspace final : public config::ConfigSource {
 public:
  explicit FixedWorkspace(config::WorkspacePtr workspace) : workspace_(std::move(workspace)) {}
  config::WorkspacePtr Current() const override { return workspace_; }
  std::shared_ptr<void> Subscribe(std::function<void(config::WorkspacePtr)> listener) override {
    listener(workspace_);
    return std::make_shared<int>(0);
  }

 private:
  config::WorkspacePtr workspace_;
};

class Bench {
 public:
  Bench() : folder_(std::filesystem::temp_directory_path() / ("router-" + NewUuid())) {
    auto log = event_log::OpenLocalLog({.path = folder_.string()});
    REQUIRE(log.ok());
    REQUIRE(pipeline::EnsureShared(**log, {}).ok());
    log_ = *std::move(log);
    auto appender = log_->NewAppender();
    REQUIRE(appender.ok());
    appender_ = *std::move(appender);
    definition_.set_type("WEBHOOK");
    definition_.set_idempotency_header("Idempotency-Key");
    settings_.set_retry_initial_ms(2);
    settings_.set_retry_max_ms(20);
  }
  ~Bench() {
    router_.reset();
    appender_.reset();
    log_.reset();
    std::filesystem::remove_all(folder_);
  }

  void AddDestination(const std::string& id, const std::string& url) {
    auto& destination = *workspace_.add_destinations();
    destination.set_id(id);
    destination.set_type("WEBHOOK");
    destination.set_enabled(true);
    destination.set_config_json(url);
    REQUIRE(log_->EnsureTopic(event_log::DestinationTopic(id), {.partitions = 2}).ok());
  }

  void Emit(const std::string& destination, const std::string& user, const std::string& text) {
    delivery::v1::DeliveryMeta meta;
    meta.set_workspace_id("w");
    meta.set_source_id("s");
    meta.set_destination_id(destination);
    meta.set_message_id("m" + std::to_string(++messages_));
    meta.set_received_at_us(SystemClock().NowMicros());
    const std::string meta_bytes = meta.SerializeAsString();
    const std::string topic = event_log::DestinationTopic(destination);
    std::promise<Status> done;
    const event_log::TopicRecord record{topic, {.key = user, .meta = meta_bytes, .value = text}};
    appender_->Append(std::span(&record, 1),
                      [&](Status status) { done.set_value(std::move(status)); });
    REQUIRE(done.get_future().get().ok());
  }

  void Start() {
    source_ = std::make_unique<FixedWorkspace>(std::make_shared<config::v1::Workspace>(workspace_));
    DestinationTypes types;
    types.find = [this](const std::string&) { return &definition_; };
    types.make_mapper = [](const config::v1::Destination& destination) {
      return StatusOr<std::shared_ptr<destination::Mapper>>(
          std::make_shared<TextMapper>(destination.config_json()));
    };
    auto router = Router::Create(
        settings_,
        {.log = *log_,
         .clock = SystemClock(),
         .metrics = metrics_,
         .workspace = *source_,
         .types = std::move(types),
         .make_transport = transports::HttpTransports({.allowed_networks = {"127.0.0.0/8"}})});
    REQUIRE(router.ok());
    router_ = *std::move(router);
    REQUIRE(router_->Start().ok());
  }
  void Stop() { router_->Stop(milliseconds(5000)); }

  /// Waits until `count` events in all have come to an end; the statuses of all.
  std::vector<delivery::v1::DeliveryStatus> Final(size_t count) {
    std::vector<delivery::v1::DeliveryStatus> final_ones;
    auto consumer = Tail(event_log::kDeliveryStatusTopic);
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (final_ones.size() < count) {
      REQUIRE(std::chrono::steady_clock::now() < give_up);
      auto batch = consumer->Poll({});
      REQUIRE(batch.ok());
      for (const auto& record : batch->records) {
        delivery::v1::DeliveryStatusBatch statuses;
        REQUIRE(
            statuses.ParseFromArray(record.value.data(), static_cast<int>(record.value.size())));
        for (const auto& status : statuses.statuses()) {
          if (status.outcome() != delivery::v1::RETRYING) final_ones.push_back(status);
        }
      }
    }
    CHECK(final_ones.size() == count);
    return final_ones;
  }

  std::map<int, int64_t> Counts() {
    std::map<int, int64_t> counts;
    for (const std::string& value : All(event_log::kCountersTopic)) {
      accounting::v1::Counters counters;
      REQUIRE(counters.ParseFromString(value));
      for (const auto& count : counters.counts()) counts[count.fate()] += count.count();
    }
    return counts;
  }

  std::vector<delivery::v1::DeadLetter> DeadLetters() {
    std::vector<delivery::v1::DeadLetter> letters;
    for (const std::string& value : All(event_log::kDeadLetterTopic)) {
      REQUIRE(letters.emplace_back().ParseFromString(value));
    }
    return letters;
  }

  settings::v1::RouterSettings settings_;

 private:
  std::unique_ptr<event_log::Consumer> Tail(std::string_view topic) {
    auto consumer = log_->NewConsumer({});
    REQUIRE(consumer.ok());
    const event_log::CommittedOffset start{{std::string(topic), 0}, -1, ""};
    REQUIRE((*consumer)->Assign(std::span(&start, 1)).ok());
    return *std::move(consumer);
  }
  std::vector<std::string> All(std::string_view topic) {
    const auto info = log_->Describe(std::string(topic));
    REQUIRE(info.ok());
    std::vector<std::string> values;
    if (info->at(0).end_offset == 0) return values;
    auto consumer = Tail(topic);
    while (true) {
      auto batch = consumer->Poll({});
      REQUIRE(batch.ok());
      for (const auto& record : batch->records) values.emplace_back(record.value);
      if (batch->records.empty()) return values;
    }
  }

  std::filesystem::path folder_;
  telemetry::Metrics metrics_;
  destination::v1::Definition definition_;
  config::v1::Workspace workspace_;
  std::unique_ptr<event_log::EventLog> log_;
  std::unique_ptr<event_log::Appender> appender_;
  std::unique_ptr<FixedWorkspace> source_;
  std::unique_ptr<Router> router_;
  int messages_ = 0;
};

/// Whether bodies of one user (their first byte) come by their numbers; `Before` says it of two.
template <typename Before>
bool InOrder(const std::vector<std::string>& bodies) {
  std::map<char, std::string> last;
  return std::ranges::all_of(bodies, [&last](const std::string& body) {
    return Before()(std::exchange(last[body[0]], body), body);
  });
}

TEST_CASE("Router delivers, filters and dead-letters, and counts each event once", "[router]") {
  Sink sink([](const http::Request& request) {
    return http::Response{.status = request.body.view() == "refuse" ? 400 : 200, .body = "answer"};
  });
  Bench bench;
  bench.AddDestination("d", sink.url());
  for (const char* text : {"one", "filter", "broken", "refuse", "twice"})
    bench.Emit("d", "u", text);
  bench.Start();
  bench.Final(5);
  bench.Stop();
  CHECK(sink.bodies() == std::vector<std::string>{"one", "refuse", "twice", "twice, second"});
  CHECK(sink.keys() == std::vector<std::string>{"d:m1", "d:m4", "d:m5", "d:m5:1"});
  auto counts = bench.Counts();
  CHECK(counts[accounting::v1::DELIVERED] == 2);
  CHECK(counts[accounting::v1::FILTERED] == 1);
  CHECK(counts[accounting::v1::DEAD_LETTERED] == 2);
  const auto letters = bench.DeadLetters();
  REQUIRE(letters.size() == 2);
  CHECK(letters[0].error_class() == "mapping");
  CHECK(letters[0].stack() == "at map (mapping.js:1)");
  CHECK(letters[1].error_class() == "rejected");
  CHECK(letters[1].event() == "refuse");
  CHECK(letters[1].user_key() == "u");
  CHECK(letters[1].last_exchange().status() == 400);
  CHECK(letters[1].last_exchange().response_body() == "answer");
}

TEST_CASE("Router keeps each user's order while it retries", "[router]") {
  std::map<std::string, int> tries;
  Sink sink([&](const http::Request& request) {
    const int number = ++tries[std::string(request.body.view())];
    return http::Response{.status = request.body.view().size() % 2 == 0 && number < 4 ? 503 : 200};
  });
  Bench bench;
  bench.AddDestination("d", sink.url());
  for (int i = 0; i < 300; ++i) {
    bench.Emit("d", "user" + std::to_string(i % 10),
               std::to_string(i % 10) + ":" + std::to_string(1000 + i) + std::string(i % 3, ' '));
  }
  bench.Start();
  bench.Final(300);
  bench.Stop();
  CHECK(InOrder<std::less_equal<>>(sink.bodies()));  // the same again is a retry
  CHECK(tries.size() == 300);
  CHECK(bench.Counts()[accounting::v1::DELIVERED] == 300);
}

TEST_CASE("Router does not send finished events again after a restart", "[router]") {
  std::atomic<bool> healthy{false};
  std::map<std::string, int> tries;
  Sink sink([&](const http::Request& request) {
    ++tries[std::string(request.body.view())];
    return http::Response{.status = request.body.view() == "stuck" && !healthy ? 500 : 200};
  });
  Bench bench;
  bench.AddDestination("d", sink.url());
  bench.Emit("d", "stuck user", "stuck");
  bench.Emit("d", "stuck user", "behind");
  for (int i = 0; i < 100; ++i)
    bench.Emit("d", "u" + std::to_string(i), "event " + std::to_string(i));
  bench.Start();
  bench.Final(100);
  bench.Stop();
  CHECK(tries["behind"] == 0);
  healthy = true;
  bench.Start();
  bench.Final(102);
  bench.Stop();
  tries.erase("stuck");
  CHECK(tries.size() == 101);
  for (const auto& [body, number] : tries) {
    CAPTURE(body);
    CHECK(number == 1);
  }
  CHECK(bench.Counts()[accounting::v1::DELIVERED] == 102);
}

TEST_CASE("Router holds a dead destination's events without slowing another", "[router]") {
  Sink sink([](const http::Request&) { return http::Response{}; });
  Bench bench;
  bench.settings_.set_window_records(10);
  bench.settings_.set_retry_max_ms(60'000);
  bench.settings_.set_retry_initial_ms(60'000);
  bench.AddDestination("dead", "http://127.0.0.1:1/");
  bench.AddDestination("well", sink.url());
  for (int i = 0; i < 200; ++i) {
    bench.Emit("dead", "u" + std::to_string(i), "x");
    bench.Emit("well", "u" + std::to_string(i), "y");
  }
  bench.Start();
  bench.Final(200);
  bench.Stop();
  CHECK(sink.bodies().size() == 200);
  CHECK(bench.DeadLetters().empty());
}

TEST_CASE(
    "Router's workers deliver each event once and in order while they share out the partitions",
    "[router]") {
  Sink sink([](const http::Request&) { return http::Response{}; });
  Bench bench;
  bench.settings_.set_workers(3);
  bench.settings_.set_commit_max_events(10);
  for (const char* id : {"d", "e"}) bench.AddDestination(id, sink.url());
  for (int i = 0; i < 400; ++i) {
    bench.Emit(i % 2 == 0 ? "d" : "e", "user" + std::to_string(i % 10),
               std::to_string(i % 10) + ":" + std::to_string(1000 + i));
  }
  bench.Start();
  bench.Final(400);
  bench.Stop();
  CHECK(InOrder<std::less<>>(sink.bodies()));
  CHECK(sink.bodies().size() == 400);
  CHECK(bench.Counts()[accounting::v1::DELIVERED] == 400);
}

TEST_CASE("Router gives up on what is too old", "[router]") {
  Sink sink([](const http::Request&) { return http::Response{.status = 500}; });
  Bench bench;
  bench.settings_.set_max_retry_age_s(1);
  bench.AddDestination("d", sink.url());
  bench.Emit("d", "u", "x");
  bench.Start();
  CHECK(bench.Final(1)[0].outcome() == delivery::v1::DEAD_LETTERED);
  bench.Stop();
  REQUIRE(bench.DeadLetters().size() == 1);
  CHECK(bench.DeadLetters()[0].error_class() == "expired");
  CHECK(bench.DeadLetters()[0].attempts() > 1);
}

}  // namespace
}  // namespace millrace::router
