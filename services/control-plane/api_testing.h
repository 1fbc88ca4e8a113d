#pragma once

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <string>

#include "libs/base/file.h"
#include "libs/base/mutex.h"
#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"
#include "millrace/accounting/v1/accounting.pb.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "millrace/event/v1/event.pb.h"
#include "services/control-plane/control_plane.h"
#include "services/control-plane/test_factory.h"
#include "services/control-plane/testing.h"

/// A control plane on a local log, asked as over HTTP.
namespace millrace::control_plane {

using Json = nlohmann::json;
using accounting::v1::Counters;

/// Takes the answer to one request and lets the test wait for it.
class Answer final : public http::Responder::Impl, public http::StreamWriter {
 public:
  void Send(http::Response response) override {
    MutexLock lock(mu_);
    response_ = std::move(response);
    done_ = true;
    changed_.notify_all();
  }
  std::shared_ptr<http::StreamWriter> Stream(http::Response head) override {
    Send(std::move(head));
    return {std::shared_ptr<void>(), this};
  }
  bool Write(std::string text) override {
    MutexLock lock(mu_);
    streamed_ += text;
    changed_.notify_all();
    return !gone_;
  }
  void Close() override {}

  http::Response Wait() {
    MutexLock lock(mu_);
    while (!done_) changed_.wait(lock.native());
    return response_;
  }
  /// What was streamed, once it holds `text`.
  std::string WaitFor(const std::string& text) {
    MutexLock lock(mu_);
    while (streamed_.find(text) == std::string::npos) changed_.wait(lock.native());
    return streamed_;
  }

 private:
  Mutex mu_;
  std::condition_variable changed_;
  http::Response response_;
  std::string streamed_;
  bool done_ = false;
  bool gone_ = false;
};

struct Fixture {
  Fixture() {
    log = *event_log::OpenLocalLog({.path = folder.path() + "/log"});
    for (const auto topic :
         {event_log::kIngestTopic, event_log::kDeadLetterTopic, event_log::kCountersTopic,
          event_log::kDeliveryStatusTopic, event_log::kReportTopic}) {
      REQUIRE(log->EnsureTopic(std::string(topic), {.partitions = 2}).ok());
    }
    REQUIRE(log->EnsureTopic("destination.d1", {.partitions = 2}).ok());
    Open();
  }
  void Open() {
    control_plane.reset();
    settings::v1::ControlPlaneSettings settings;
    settings.set_data_dir(folder.path());
    settings.set_grpc_address(grpc_address);
    auto made = ControlPlane::Create(settings, {.log = *log,
                                                .clock = clock,
                                                .destinations = TestHooks(),
                                                .transformers = [this] { return &factory; },
                                                .destination_partitions = 2,
                                                .topics = topics});
    INFO(Message(made.status()));
    REQUIRE(made.ok());
    control_plane = *std::move(made);
    REQUIRE(control_plane->Start().ok());
    token = *ReadFile(folder.path() + "/api-token");
    token.pop_back();  // newline
  }

  http::Response Ask(const std::string& method, const std::string& target,
                     const std::string& body = "", const std::string& authorization = "default") {
    const auto answer = std::make_shared<Answer>();
    Ask(answer, method, target, body, authorization);
    return answer->Wait();
  }
  void Ask(const std::shared_ptr<Answer>& answer, const std::string& method,
           const std::string& target, const std::string& body = "",
           const std::string& authorization = "default") {
    http::Request request;
    request.method = method;
    request.path = target.substr(0, target.find('?'));
    if (request.path.size() < target.size()) request.query = target.substr(request.path.size() + 1);
    request.body = Bytes(body);
    if (!authorization.empty()) {
      request.headers.emplace_back("authorization",
                                   authorization == "default" ? "Bearer " + token : authorization);
    }
    control_plane->Handle(std::move(request), http::Responder(answer));
  }
  Json Get(const std::string& target) {
    const http::Response response = Ask("GET", target);
    INFO(response.body);
    REQUIRE(response.status == 200);
    return Json::parse(response.body);
  }
  Json Post(const std::string& target, const Json& body) {
    const http::Response response = Ask("POST", target, body.dump());
    INFO(response.body);
    REQUIRE(response.status == 200);
    return Json::parse(response.body);
  }

  void Append(std::string_view topic, const std::string& meta, const std::string& value,
              const std::string& key = "u") {
    const auto transaction = log->NewTransaction("test");
    REQUIRE(transaction.ok());
    REQUIRE((*transaction)->Begin().ok());
    const event_log::TopicRecord record{.topic = topic,
                                        .record = {.key = key, .meta = meta, .value = value}};
    REQUIRE((*transaction)->Append({&record, 1}).ok());
    REQUIRE((*transaction)->Commit().ok());
  }
  void Ingest(const std::string& source, const std::string& value = R"({"type":"track"})") {
    event::v1::EventMeta meta;
    meta.set_source_id(source);
    meta.set_message_id("m");
    Append(event_log::kIngestTopic, meta.SerializeAsString(), value);
  }
  /// Puts an event into the topic of d1.
  void Route(const std::string& source) {
    delivery::v1::DeliveryMeta meta;
    meta.set_source_id(source);
    meta.set_destination_id("d1");
    Append("destination.d1", meta.SerializeAsString(), R"({"type":"track"})");
  }
  void Count(const std::string& stage, const std::string& destination, accounting::v1::Fate fate,
             int64_t count) {
    Counters counters;
    counters.set_stage(stage);
    auto* one = counters.add_counts();
    one->set_source_id("s1");
    one->set_destination_id(destination);
    one->set_fate(fate);
    one->set_count(count);
    Append(event_log::kCountersTopic, "", counters.SerializeAsString());
  }
  /// As if the processor had read all of `ingest`.
  void CommitProcessor() {
    const auto consumer = log->NewConsumer({.group = "processor", .instance = "test"});
    REQUIRE(consumer.ok());
    REQUIRE((*consumer)->Subscribe({std::string(event_log::kIngestTopic)}).ok());
    std::vector<event_log::CommittedOffset> offsets;
    const auto infos = log->Describe(std::string(event_log::kIngestTopic));
    for (const auto& info : *infos) {
      offsets.push_back({.partition = {std::string(event_log::kIngestTopic), info.partition},
                         .offset = info.end_offset});
    }
    REQUIRE((*consumer)->Poll({}).ok());
    const Status committed = (*consumer)->Commit(offsets);
    INFO(Message(committed));
    REQUIRE(committed.ok());
  }
  void AddLetter(const std::string& id, const std::string& stage, const std::string& destination) {
    delivery::v1::DeadLetter letter;
    letter.set_id(id);
    letter.set_stage(stage);
    letter.set_reason("refused");
    letter.set_source_id("s1");
    letter.set_destination_id(destination);
    letter.set_event(R"({"type":"track","event":")" + id + "\"}");
    letter.set_failed_at_us(clock.NowMicros() + ++letters);
    letter.set_user_key("u");
    if (!destination.empty()) {
      letter.mutable_delivery()->set_message_id(id);
      letter.mutable_delivery()->set_source_id("s1");
    }
    Append(event_log::kDeadLetterTopic, "", letter.SerializeAsString());
  }

  event_log::TestFolder folder;
  FakeClock clock;
  TestFactory factory;
  std::string grpc_address;
  TopicKeeperOptions topics;
  std::unique_ptr<event_log::EventLog> log;
  std::string token;
  int64_t letters = 0;
  std::unique_ptr<ControlPlane> control_plane;  // before the log
};

}  // namespace millrace::control_plane
