#include "services/control-plane/control_plane.h"

#include <catch2/catch.hpp>
#include <condition_variable>
#include <nlohmann/json.hpp>
#include <thread>

#include "libs/base/file.h"
#include "libs/base/mutex.h"
#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"
#include "libs/event_log/offset_tracker.h"
#include "millrace/accounting/v1/accounting.pb.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "millrace/event/v1/event.pb.h"
#include "services/control-plane/testing.h"

namespace millrace::control_plane {
namespace {

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
    for (const auto topic : {event_log::kIngestTopic, event_log::kDeadLetterTopic,
                             event_log::kCountersTopic, event_log::kDeliveryStatusTopic}) {
      REQUIRE(log->EnsureTopic(std::string(topic), {.partitions = 2}).ok());
    }
    REQUIRE(log->EnsureTopic("destination.d1", {.partitions = 2}).ok());
    Open();
  }
  void Open() {
    control_plane.reset();
    settings::v1::ControlPlaneSettings settings;
    settings.set_data_dir(folder.path());
    auto made = ControlPlane::Create(settings,
                                     {.log = *log, .clock = clock, .destinations = TestHooks()});
    INFO(Message(made.status()));
    REQUIRE(made.ok());
    control_plane = *std::move(made);
    REQUIRE(control_plane->Start().ok());
    token = *ReadFile(folder.path() + "/api-token");
    token.pop_back();  // newline
  }

  http::Response Ask(const std::string& method, const std::string& target, const std::string& body = "",
                     const std::string& authorization = "default") {
    const auto answer = std::make_shared<Answer>();
    Ask(answer, method, target, body, authorization);
    return answer->Wait();
  }
  void Ask(const std::shared_ptr<Answer>& answer, const std::string& method, const std::string& target,
           const std::string& body = "", const std::string& authorization = "default") {
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
    const event_log::TopicRecord record{.topic = topic, .record = {.key = key, .meta = meta, .value = value}};
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
    letter.set_failed_at_us(++letters);
    letter.set_user_key("u");
    if (!destination.empty()) {
      letter.mutable_delivery()->set_message_id(id);
      letter.mutable_delivery()->set_source_id("s1");
    }
    Append(event_log::kDeadLetterTopic, "", letter.SerializeAsString());
  }

  event_log::TestFolder folder;
  FakeClock clock;
  std::unique_ptr<event_log::EventLog> log;
  std::string token;
  int64_t letters = 0;
  std::unique_ptr<ControlPlane> control_plane;  // before the log
};

const Json kWorkspace = Json::parse(R"({
  "sources": [{"id": "s1", "name": "site", "writeKey": "k1"}],
  "destinations": [{"id": "d1", "name": "hook", "type": "WEBHOOK",
                    "config": {"webhookUrl": "https://x", "secret": "s3cr3t"}}],
  "connections": [{"source": "site", "destination": "hook"}]})");

}  // namespace

TEST_CASE("only the API token opens the API", "[api]") {
  Fixture f;
  CHECK(f.Ask("GET", "/api/v1/workspace").status == 200);
  for (const std::string authorization : {"", "Bearer wrong", "Basic x"}) {
    const http::Response response = f.Ask("GET", "/api/v1/workspace", "", authorization);
    CHECK(response.status == 401);
    CHECK(response.body.find("api-token") != std::string::npos);
  }
  CHECK(f.Ask("GET", "/api/v1/health", "", "").status == 200);
  const http::Response document = f.Ask("GET", "/api/v1/openapi.json", "", "");
  CHECK(document.status == 200);
  CHECK(Json::accept(document.body));
  const std::string before = f.token;
  f.Open();
  CHECK(f.token == before);
}

TEST_CASE("apply, look, change, delete; kept over a restart", "[api]") {
  Fixture f;
  CHECK(f.Post("/api/v1/apply?dry_run=true", kWorkspace)["changes"].size() == 3);
  CHECK(f.Get("/api/v1/sources").empty());
  const Json plan = f.Post("/api/v1/apply", kWorkspace);
  CHECK(plan["applied"] == true);
  CHECK(plan["revision"] == 2);
  CHECK(f.Post("/api/v1/apply", kWorkspace)["revision"] == 2);  // nothing changed
  f.Open();
  const Json shown = f.Get("/api/v1/destinations/d1");
  CHECK(shown["config"]["secret"] == "***cr3t");
  CHECK(f.Get("/api/v1/workspace")["connections"].size() == 1);
  CHECK(f.Ask("PUT", "/api/v1/destinations/d1", R"({"enabled": false})").status == 200);
  CHECK(f.Get("/api/v1/destinations/d1")["enabled"] == false);
  CHECK(f.control_plane->config().Current()->destinations(0).config_json().find("s3cr3t") !=
        std::string::npos);
  CHECK(f.Ask("DELETE", "/api/v1/sources/s1").status == 200);
  CHECK(f.Get("/api/v1/connections").empty());
  CHECK(f.control_plane->config().Current()->revision() == 4);
}

TEST_CASE("refusals say what is wrong", "[api]") {
  struct Case {
    std::string method, target, body;
    int status;
  };
  const auto c = GENERATE(values<Case>({
      {"GET", "/api/v1/nothing", "", 404},
      {"GET", "/api/v1/sources/none", "", 404},
      {"PATCH", "/api/v1/sources", "", 405},
      {"POST", "/api/v1/apply", "{", 400},
      {"POST", "/api/v1/apply", R"({"sources": 1})", 400},
      {"POST", "/api/v1/apply", std::string(100'000, '['), 400},
      {"POST", "/api/v1/import/rudderstack", "{}", 400},
      {"POST", "/api/v1/import/rudderstack", R"({"sources": [{"id": 1, "name": []}]})", 400},
      {"POST", "/api/v1/dead-letters/redrive", "{}", 400},
      {"POST", "/api/v1/dead-letters/redrive", R"({"all": "yes"})", 400},
      {"POST", "/api/v1/dead-letters/redrive", R"({"destination": "none"})", 404},
      {"GET", "/api/v1/dead-letters?limit=x", "", 400},
  }));
  Fixture f;
  const http::Response response = f.Ask(c.method, c.target, c.body);
  CAPTURE(c.target, response.body);
  CHECK(response.status == c.status);
  CHECK_FALSE(Json::parse(response.body)["error"]["message"].get<std::string>().empty());
}

TEST_CASE("the audit balances, from the log's own offsets", "[audit]") {
  Fixture f;
  f.Post("/api/v1/apply", kWorkspace);
  for (int i = 0; i < 10; ++i) f.Ingest("s1");
  f.CommitProcessor();
  f.Count("processor", "", accounting::v1::ACCEPTED, 10);
  f.Count("processor", "", accounting::v1::DUPLICATE, 1);
  f.Count("processor", "", accounting::v1::SOURCE_DEAD_LETTERED, 2);
  f.Count("processor", "", accounting::v1::PASSED_ON, 7);
  f.Count("processor", "d1", accounting::v1::PASSED_ON, 7);
  f.Count("processor", "d1", accounting::v1::ROUTED, 6);
  f.Count("processor", "d1", accounting::v1::FILTERED, 1);
  f.Route("s1");  // the one that the router has not counted
  f.Count("router", "d1", accounting::v1::DELIVERED, 3);
  f.Count("router", "d1", accounting::v1::FILTERED, 1);
  f.Count("router", "d1", accounting::v1::DEAD_LETTERED, 1);
  f.Ingest("s1");  // not processed yet
  const Json audit = f.Get("/api/v1/audit");
  CAPTURE(audit.dump(1));
  CHECK(audit["residual"] == 0);
  CHECK(audit["ingest_records"] == 11);
  const Json source = audit["sources"][0];
  CHECK(source["source"] == "site");
  CHECK(source["accepted"] == 11);
  CHECK(source["duplicates"] == 1);
  CHECK(source["dead_lettered"] == 2);
  CHECK(source["pending"] == 1);
  CHECK(source["passed_on"] == 7);
  const Json connection = audit["connections"][0];
  CHECK(connection["accepted"] == 7);
  CHECK(connection["delivered"] == 3);
  CHECK(connection["filtered"] == 2);
  CHECK(connection["dead_lettered"] == 1);
  CHECK(connection["pending"] == 1);
  // Counted once, also when the control plane starts again.
  f.Open();
  CHECK(f.Get("/api/v1/audit") == audit);
}

TEST_CASE("an event that the log has for a connection beyond what was counted shows", "[audit]") {
  Fixture f;
  f.Count("processor", "d1", accounting::v1::PASSED_ON, 2);
  f.Count("processor", "d1", accounting::v1::ROUTED, 2);
  f.Count("router", "d1", accounting::v1::DELIVERED, 1);
  f.Route("s1");
  CHECK(f.Get("/api/v1/audit")["residual"] == 0);
  f.Route("s1");
  const Json audit = f.Get("/api/v1/audit");
  CHECK(audit["residual"] == 1);
  CHECK(audit["moving"] == false);
  CHECK(audit["connections"][0]["residual"] == -1);
}

TEST_CASE("what the router finished out of order is not pending", "[audit]") {
  Fixture f;
  f.Count("processor", "d1", accounting::v1::PASSED_ON, 5);
  f.Count("processor", "d1", accounting::v1::ROUTED, 5);
  f.Count("router", "d1", accounting::v1::DELIVERED, 3);
  for (int i = 0; i < 5; ++i) f.Route("s1");
  const auto infos = f.log->Describe("destination.d1");  // all of one user, so in one partition
  const int32_t partition = infos->at(0).end_offset == 5 ? 0 : 1;
  event_log::OffsetTracker tracker(-1, "");
  for (int64_t offset = 0; offset < 5; ++offset) {
    bool done = false;
    const uint64_t ticket = tracker.Add(offset, &done);
    if (offset != 1 && offset != 3) tracker.Finish(ticket);
  }
  const auto consumer = f.log->NewConsumer({.group = "router", .instance = "test"});
  REQUIRE((*consumer)->Subscribe({"destination.d1"}).ok());
  REQUIRE((*consumer)->Poll({}).ok());
  const event_log::CommittedOffset offset{
      .partition = {"destination.d1", partition}, .offset = tracker.committed(), .metadata = tracker.Metadata()};
  REQUIRE((*consumer)->Commit({&offset, 1}).ok());
  const Json audit = f.Get("/api/v1/audit");
  CAPTURE(audit.dump(1));
  CHECK(audit["connections"][0]["pending"] == 2);
  CHECK(audit["residual"] == 0);
}

TEST_CASE("an event that nobody counted shows", "[audit]") {
  Fixture f;
  f.Ingest("s1");
  f.CommitProcessor();
  CHECK(f.Get("/api/v1/audit")["residual"] == 1);
}

TEST_CASE("dead letters are listed, sent again once, and skipped where that is no use", "[dead-letters]") {
  Fixture f;
  f.Post("/api/v1/apply", kWorkspace);
  f.Count("processor", "d1", accounting::v1::PASSED_ON, 2);
  f.Count("processor", "d1", accounting::v1::ROUTED, 2);
  f.Count("router", "d1", accounting::v1::DEAD_LETTERED, 2);
  f.AddLetter("l1", "router", "d1");
  f.AddLetter("l2", "router", "d1");
  f.AddLetter("l3", "processor", "");
  f.AddLetter("l4", "gateway", "");
  f.AddLetter("l5", "router", "deleted");
  f.Get("/api/v1/audit");  // has read all
  CHECK(f.Get("/api/v1/dead-letters").size() == 5);
  CHECK(f.Get("/api/v1/dead-letters?destination=hook").size() == 2);
  CHECK(f.Get("/api/v1/dead-letters?limit=1")[0]["id"] == "l5");
  CHECK(f.Get("/api/v1/dead-letters?id=l1")[0]["event"]["event"] == "l1");

  CHECK(f.Post("/api/v1/dead-letters/redrive", {{"ids", {"l1"}}})["redriven"] == 1);
  CHECK(f.Post("/api/v1/dead-letters/redrive", {{"ids", {"l1"}}})["redriven"] == 0);
  CHECK(f.Post("/api/v1/dead-letters/redrive", {{"destination", "hook"}})["redriven"] == 1);
  const Json rest = f.Post("/api/v1/dead-letters/redrive", {{"all", true}});
  CHECK(rest["redriven"] == 1);
  CHECK(rest["skipped"] == 2);

  const auto count = [&f](const std::string& topic) {
    int64_t records = 0;
    const auto infos = f.log->Describe(topic);
    for (const auto& info : *infos) records += info.end_offset;
    return records;
  };
  CHECK(count("destination.d1") == 2);
  CHECK(count("ingest") == 1);
  const Json connection = f.Get("/api/v1/audit")["connections"][0];
  CHECK(connection["dead_lettered"] == 0);
  CHECK(connection["pending"] == 2);
  CHECK(connection["residual"] == 0);
  // The marks are in the log, so a store that starts anew knows them too.
  f.control_plane.reset();
  std::filesystem::remove(f.folder.path() + "/control-plane.db");
  f.Open();
  f.Get("/api/v1/audit");
  for (const Json& letter : f.Get("/api/v1/dead-letters")) {
    const std::string id = letter["id"];
    CHECK(letter["state"] == (id == "l4" || id == "l5" ? "dead" : "redriven"));
  }
}

TEST_CASE("a viewer sees events as they come, whatever they hold", "[tail]") {
  Fixture f;
  const auto answer = std::make_shared<Answer>();
  f.Ask(answer, "GET", "/api/v1/tail");
  CHECK(answer->Wait().status == 200);
  f.Ingest("s1", R"({"type":"track","event":"Seen"})");
  CHECK(answer->WaitFor("Seen").find("\"source\":\"s1\"") != std::string::npos);
  f.Ingest("s1", std::string(200'000, '['));  // no JSON, and too deep for any reader
  answer->WaitFor("[[[[");
  f.Ingest("s1", R"({"type":"track","event":"After"})");
  answer->WaitFor("After");
  f.control_plane->Stop();
}

}  // namespace millrace::control_plane
