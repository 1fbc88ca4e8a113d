#include <atomic>
#include <future>
#include <utility>

#include "libs/event_log/offset_tracker.h"
#include "services/control-plane/api_testing.h"
#include "services/control-plane/audit.h"

namespace millrace::control_plane {
namespace {

const Json kWorkspace = Json::parse(R"({
  "sources": [{"id": "s1", "name": "site", "writeKey": "k1"}],
  "destinations": [{"id": "d1", "name": "hook", "type": "WEBHOOK",
                    "config": {"webhookUrl": "https://x", "secret": "s3cr3t"}}],
  "connections": [{"source": "site", "destination": "hook"}]})");

/// A log that no longer lists its topics from Close to Open.
class GatedLog final : public event_log::EventLog {
 public:
  explicit GatedLog(std::unique_ptr<event_log::EventLog> log) : log_(std::move(log)) {}
  void Close() { closed_ = true; }
  void Open() { opened_.set_value(); }
  Status EnsureTopic(const std::string& topic, const event_log::TopicOptions& options) override {
    return log_->EnsureTopic(topic, options);
  }
  Status DeleteTopic(const std::string& topic) override { return log_->DeleteTopic(topic); }
  Status Trim(const event_log::TopicPartition& partition, int64_t before_offset) override {
    return log_->Trim(partition, before_offset);
  }
  StatusOr<std::vector<event_log::PartitionInfo>> Describe(const std::string& topic) override {
    return log_->Describe(topic);
  }
  StatusOr<std::vector<event_log::CommittedOffset>> Committed(const std::string& group,
                                                              const std::string& topic) override {
    return log_->Committed(group, topic);
  }
  StatusOr<std::vector<std::string>> ListTopics() override {
    if (closed_) is_open_.wait();
    return log_->ListTopics();
  }
  StatusOr<event_log::LogUsage> Usage() override { return log_->Usage(); }
  StatusOr<std::string> Id() override { return log_->Id(); }
  StatusOr<std::unique_ptr<event_log::Appender>> NewAppender() override {
    return log_->NewAppender();
  }
  StatusOr<std::unique_ptr<event_log::Consumer>> NewConsumer(
      const event_log::ConsumerOptions& options) override {
    return log_->NewConsumer(options);
  }
  StatusOr<std::unique_ptr<event_log::Transaction>> NewTransaction(const std::string& id) override {
    return log_->NewTransaction(id);
  }

 private:
  const std::unique_ptr<event_log::EventLog> log_;
  std::atomic<bool> closed_ = false;
  std::promise<void> opened_;
  const std::shared_future<void> is_open_ = opened_.get_future().share();
};

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
  const event_log::CommittedOffset offset{.partition = {"destination.d1", partition},
                                          .offset = tracker.committed(),
                                          .metadata = tracker.Metadata()};
  REQUIRE((*consumer)->Commit({&offset, 1}).ok());
  const Json audit = f.Get("/api/v1/audit");
  CAPTURE(audit.dump(1));
  CHECK(audit["connections"][0]["pending"] == 2);
  CHECK(audit["residual"] == 0);
}

TEST_CASE("no call waits for an audit of a log that does not answer", "[api]") {
  Fixture f;
  f.control_plane.reset();
  auto gated = std::make_unique<GatedLog>(std::move(f.log));
  GatedLog& gate = *gated;
  f.log = std::move(gated);
  f.Open();
  gate.Close();
  std::vector<std::shared_ptr<Answer>> audits;
  for (int i = 0; i < 20; ++i) {
    f.Ask(audits.emplace_back(std::make_shared<Answer>()), "GET", "/api/v1/audit");
  }
  CHECK(f.Post("/api/v1/apply", kWorkspace)["applied"] == true);
  const auto tail = std::make_shared<Answer>();
  f.Ask(tail, "GET", "/api/v1/tail");
  CHECK(tail->Wait().status == 200);
  gate.Open();
  for (const auto& audit : audits) CHECK(audit->Wait().status == 200);
  f.control_plane->Stop();
}

TEST_CASE("what waits in ingest is told, also when it is too much to be read", "[audit]") {
  Fixture f;
  for (int i = 0; i < 3; ++i) f.Ingest("s1");
  const auto positions = ReadPositions(*f.log);
  REQUIRE(positions.ok());
  const auto read = CompareWithLog(*f.log, *positions, {}, 100, true);
  CHECK(read->ingest_unlisted == 0);
  CHECK(read->sources.at("s1").pending == 3);
  const auto unread = CompareWithLog(*f.log, *positions, {}, 2, true);
  CHECK(unread->ingest_unlisted == 3);
  CHECK(unread->sources.empty());
}

TEST_CASE("an event that nobody counted shows", "[audit]") {
  Fixture f;
  f.Ingest("s1");
  f.CommitProcessor();
  CHECK(f.Get("/api/v1/audit")["residual"] == 1);
}

TEST_CASE("dead letters are listed, sent again once, and skipped where that is no use",
          "[dead-letters]") {
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

TEST_CASE("a redrive goes past letters that cannot be sent again, and says what is not kept",
          "[dead-letters]") {
  Fixture f;
  f.Post("/api/v1/apply", kWorkspace);
  for (int i = 0; i < 450; ++i) f.AddLetter("gone" + std::to_string(i), "router", "deleted");
  f.AddLetter("last", "router", "d1");
  const Json answer = f.Post("/api/v1/dead-letters/redrive", {{"all", true}});
  CHECK(answer["redriven"] == 1);
  CHECK(answer["skipped"] == 450);
  CHECK(answer["more"] == false);
  const Json purged = f.Post("/api/v1/dead-letters/redrive", {{"ids", {"none"}}});
  CHECK(purged["redriven"] == 0);
  CHECK(purged["skipped"] == 1);
  CHECK(purged["skipped_reason"].get<std::string>().find("purged") != std::string::npos);
}

TEST_CASE("an event that failed before fan-out is sent again with its user", "[dead-letters]") {
  Fixture f;
  delivery::v1::DeadLetter letter;
  letter.set_id("l1");
  letter.set_stage("processor");
  letter.set_source_id("s1");
  letter.set_message_id("m1");
  letter.set_event(R"({"type":"track","userId":"u1","anonymousId":"a1"})");
  letter.set_failed_at_us(f.clock.NowMicros());
  f.Append(event_log::kDeadLetterTopic, "", letter.SerializeAsString());
  CHECK(f.Post("/api/v1/dead-letters/redrive", {{"all", true}})["redriven"] == 1);
  const auto consumer = *f.log->NewConsumer({});
  const event_log::CommittedOffset starts[] = {{.partition = {"ingest", 0}, .offset = 0},
                                               {.partition = {"ingest", 1}, .offset = 0}};
  REQUIRE(consumer->Assign(starts).ok());
  const auto batch = consumer->Poll({});
  REQUIRE(batch.ok());
  REQUIRE(batch->records.size() == 1);
  event::v1::EventMeta meta;
  REQUIRE(meta.ParseFromArray(batch->records[0].meta.data(),
                              static_cast<int>(batch->records[0].meta.size())));
  CHECK(meta.message_id() == "m1");
  CHECK(meta.user_id() == "u1");
  CHECK(meta.anonymous_id() == "a1");
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
