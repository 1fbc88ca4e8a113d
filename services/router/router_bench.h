#pragma once

// A router on the local log, delivering over real sockets, for tests.
#include <catch2/catch.hpp>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "libs/base/ids.h"
#include "libs/event_log/local/local_log.h"
#include "libs/http/server.h"
#include "libs/pipeline/topology.h"
#include "libs/transports/http/http_transport.h"
#include "millrace/accounting/v1/accounting.pb.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "services/router/router.h"

namespace millrace::router {

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
    listener_ = std::move(listener);
    listener_(workspace_);
    return std::make_shared<int>(0);
  }
  void Change(config::WorkspacePtr workspace) {
    workspace_ = std::move(workspace);
    listener_(workspace_);
  }

 private:
  config::WorkspacePtr workspace_;
  std::function<void(config::WorkspacePtr)> listener_;
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
    REQUIRE(pipeline::EnsureDestination(*log_, id, pipeline::DestinationKind::kRouted,
                                        {.destination_partitions = 2})
                .ok());
  }

  void ShareOf(const std::string& id, uint64_t bytes) {
    DestinationNamed(id).mutable_share()->set_max_bytes(bytes);
  }
  void Pause(const std::string& id) { DestinationNamed(id).set_paused(true); }
  void Disable(const std::string& id, int64_t at_us) {
    DestinationNamed(id).set_enabled(false);
    DestinationNamed(id).set_disabled_at_us(at_us);
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
    shares_ = std::make_unique<pipeline::ShareWatch>(pipeline::ShareOptions{}, *log_, *source_,
                                                     metrics_, milliseconds(50));
    shares_->Start();
    auto router = Router::Create(
        settings_,
        {.log = *log_,
         .clock = SystemClock(),
         .metrics = metrics_,
         .workspace = *source_,
         .types = std::move(types),
         .shares = shares_.get(),
         .make_transport = transports::HttpTransports({.allowed_networks = {"127.0.0.0/8"}})});
    REQUIRE(router.ok());
    router_ = *std::move(router);
    REQUIRE(router_->Start().ok());
  }
  void Stop() {
    router_->Stop(milliseconds(5000));
    shares_->Stop();
  }
  /// What `change` does to a destination reaches the running router.
  void Change(const std::function<void(config::v1::Destination&)>& change) {
    auto& destination = *workspace_.mutable_destinations(0);
    change(destination);
    destination.set_revision(destination.revision() + "'");
    source_->Change(std::make_shared<config::v1::Workspace>(workspace_));
  }
  /// Deletes the first destination as the control plane does.
  void DeleteDestination() {
    REQUIRE(pipeline::DeleteDestination(*log_, workspace_.destinations(0).id()).ok());
    workspace_.mutable_destinations()->DeleteSubrange(0, 1);
    source_->Change(std::make_shared<config::v1::Workspace>(workspace_));
  }
  /// Waits until the group has nothing more to do in the destination's own topic.
  void AwaitAllCommitted(const std::string& destination) {
    const std::string topic = event_log::DestinationTopic(destination);
    Await([&] {
      const auto info = log_->Describe(topic);
      const auto committed = log_->Committed("router", topic);
      REQUIRE(info.ok());
      REQUIRE(committed.ok());
      for (size_t i = 0; i < info->size(); ++i) {
        if (committed->at(i).offset < info->at(i).end_offset) return false;
      }
      return true;
    });
  }
  static void Await(const std::function<bool()>& condition) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition()) {
      REQUIRE(std::chrono::steady_clock::now() < give_up);
      std::this_thread::sleep_for(milliseconds(2));
    }
  }

  /// Waits until `count` events in all have come to an end; the statuses of all.
  std::vector<delivery::v1::DeliveryStatus> Final(size_t count) {
    auto final_ones = FinalAtLeast(count);
    CHECK(final_ones.size() == count);
    return final_ones;
  }
  std::vector<delivery::v1::DeliveryStatus> FinalAtLeast(size_t count) {
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
    return final_ones;
  }

  /// How many statuses say that an event is tried again.
  size_t Retrying() {
    size_t retrying = 0;
    for (const std::string& value : All(event_log::kDeliveryStatusTopic)) {
      delivery::v1::DeliveryStatusBatch batch;
      REQUIRE(batch.ParseFromString(value));
      retrying += std::ranges::count(batch.statuses(), delivery::v1::RETRYING,
                                     &delivery::v1::DeliveryStatus::outcome);
    }
    return retrying;
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
  config::v1::Destination& DestinationNamed(const std::string& id) {
    for (auto& destination : *workspace_.mutable_destinations()) {
      if (destination.id() == id) return destination;
    }
    FAIL("no destination " << id);
    return *workspace_.mutable_destinations(0);
  }
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
  std::unique_ptr<pipeline::ShareWatch> shares_;  // before the router, which asks it
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

}  // namespace millrace::router
