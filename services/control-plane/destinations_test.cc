#include "services/control-plane/destinations.h"

#include <set>

#include "services/control-plane/api_testing.h"

namespace millrace::control_plane {
namespace {

const Json kWorkspace = Json::parse(R"({
  "sources": [{"id": "s1", "name": "site", "writeKey": "k1"}],
  "destinations": [{"id": "d1", "name": "hook", "type": "WEBHOOK", "config": {"webhookUrl": "https://x"}}],
  "connections": [{"source": "site", "destination": "hook"}]})");

/// A workspace with destination d1, and `waiting` events that wait for it.
struct Waiting : Fixture {
  explicit Waiting(int waiting) {
    Post("/api/v1/apply", kWorkspace);
    if (waiting == 0) return;
    for (int i = 0; i < waiting; ++i) Route("s1");
    Count("processor", "d1", accounting::v1::PASSED_ON, waiting + 2);
    Count("processor", "d1", accounting::v1::ROUTED, waiting + 2);
    Count("router", "d1", accounting::v1::DELIVERED, 2);
    Get("/api/v1/audit");  // has read all
  }
  std::set<std::string> Topics() {
    std::set<std::string> found;
    const auto all = *log->ListTopics();
    for (const std::string& topic : all) {
      if (topic.rfind("destination.", 0) == 0 || topic.rfind("parking.", 0) == 0) {
        found.insert(topic);
      }
    }
    return found;
  }
  const config::v1::Destination& Destination() {
    held = control_plane->config().Current();
    return held->destinations(0);
  }
  config::WorkspacePtr held;
};

}  // namespace

TEST_CASE("deleting a destination for which events wait is refused, and says how many",
          "[destinations]") {
  struct Case {
    const char* name;
    std::string method, target, body;
  };
  const auto c = GENERATE(values<Case>({
      {"delete", "DELETE", "/api/v1/destinations/d1", ""},
      {"prune", "POST", "/api/v1/apply?prune=true", R"({"sources": [{"id": "s1"}]})"},
      {"another type", "POST", "/api/v1/apply",
       R"({"destinations": [{"name": "hook", "type": "OTHER", "enabled": false}]})"},
  }));
  CAPTURE(c.name);
  Waiting f(30);
  const std::string join = c.target.find('?') == std::string::npos ? "?" : "&";
  // A dry run shows the number.
  const http::Response plan = f.Ask(c.method, c.target + join + "dry_run=true", c.body);
  REQUIRE(plan.status == 200);
  int64_t shown = 0;
  const Json changes = Json::parse(plan.body)["changes"];
  for (const Json& change : changes) shown += change.value("waiting", 0);
  CHECK(shown == 30);
  const http::Response refused = f.Ask(c.method, c.target, c.body);
  CHECK(refused.status == 409);
  CHECK(refused.body.find("for 'hook' 30 events wait") != std::string::npos);
  CHECK(refused.body.find("give_up_waiting=true (--give-up-waiting)") != std::string::npos);
  CHECK(f.control_plane->config().Current()->revision() == 2);
  CHECK(f.Ask(c.method, c.target + join + "give_up_waiting=true", c.body).status == 200);
  CHECK(f.control_plane->config().Current()->revision() == 3);
}

TEST_CASE("a destination for which nothing waits is deleted without a flag", "[destinations]") {
  Waiting f(0);
  CHECK(f.Ask("DELETE", "/api/v1/destinations/d1").status == 200);
  CHECK(f.Get("/api/v1/destinations").empty());
}

TEST_CASE("topics of a destination come and go with it", "[destinations]") {
  Waiting f(3);
  CHECK(f.Topics() == std::set<std::string>{"destination.d1", "parking.d1"});
  f.Post("/api/v1/apply",
         Json::parse(R"({"destinations": [{"id": "d2", "name": "b", "type": "WEBHOOK",
                                           "config": {"webhookUrl": "https://x"}}]})"));
  CHECK(f.Topics() ==
        std::set<std::string>{"destination.d1", "parking.d1", "destination.d2", "parking.d2"});
  REQUIRE(f.Ask("DELETE", "/api/v1/destinations/d1?give_up_waiting=true").status == 200);
  f.topics.grace = std::chrono::milliseconds(0);
  f.Open();  // restarted, it deletes what is due
  while (f.Topics().contains("destination.d1")) std::this_thread::yield();
  while (f.Topics().contains("parking.d1")) std::this_thread::yield();
  CHECK(f.Topics() == std::set<std::string>{"destination.d2", "parking.d2"});
}

TEST_CASE("a new destination with a deleted one's id starts with nothing", "[destinations]") {
  Waiting f(3);
  REQUIRE(f.Ask("DELETE", "/api/v1/destinations/d1?give_up_waiting=true").status == 200);
  f.Post("/api/v1/apply", kWorkspace);
  CHECK(f.Get("/api/v1/destinations/d1")["status"]["waiting"] == 0);
  const auto infos = *f.log->Describe("destination.d1");
  for (const auto& info : infos) CHECK(info.end_offset == info.begin_offset);
  const Json audit = f.Get("/api/v1/audit");
  CAPTURE(audit.dump(1));
  CHECK(audit["residual"] == 0);
  CHECK(audit["connections"][0]["dead_lettered"] == 3);
  CHECK(audit["connections"][0]["pending"] == 0);
}

TEST_CASE("topics that an older version left are deleted when their destination is",
          "[destinations]") {
  Waiting f(0);
  REQUIRE(f.log->EnsureTopic("destination.old", {}).ok());
  f.Open();
  CHECK(f.Topics().contains("destination.old"));  // not by itself
  CHECK(f.Ask("DELETE", "/api/v1/destinations/none").status == 404);
  CHECK(f.Ask("DELETE", "/api/v1/destinations/old?dry_run=true").status == 200);
  const http::Response done = f.Ask("DELETE", "/api/v1/destinations/old");
  INFO(done.body);
  REQUIRE(done.status == 200);
  f.topics.grace = std::chrono::milliseconds(0);
  f.Open();
  while (f.Topics().contains("destination.old")) std::this_thread::yield();
  CHECK(f.Topics() == std::set<std::string>{"destination.d1", "parking.d1"});
}

TEST_CASE("the state of a destination, and what waits, is shown", "[destinations]") {
  Waiting f(3);
  const Json status = f.Get("/api/v1/destinations/d1")["status"];
  CHECK(status["state"] == "enabled");
  CHECK(status["waiting"] == 3);
  CHECK_FALSE(status.contains("topicFault"));
  CHECK(status["share"]["usedBytes"] > 0);
  CHECK(status["share"]["limitBytes"] == f.log->Usage()->quota_bytes / 4);
  CHECK(status["share"]["whenUsedUp"] == "give_up");
  REQUIRE(f.Ask("PUT", "/api/v1/destinations/d1", R"({"paused": true})").status == 200);
  CHECK(f.Get("/api/v1/destinations")[0]["status"]["state"] == "paused");
  REQUIRE(f.Ask("PUT", "/api/v1/destinations/d1", R"({"enabled": false})").status == 200);
  const Json one = f.Get("/api/v1/destinations/d1");
  CHECK(one["status"]["state"] == "disabled");
  CHECK(one["status"]["disabledAt"] == FormatRfc3339Millis(f.clock.NowMicros()));
  REQUIRE(f.Ask("PUT", "/api/v1/destinations/d1",
                R"({"share": {"maxBytes": 2000000, "whenUsedUp": "refuse_sources"}})")
              .status == 200);
  const Json share = f.Get("/api/v1/destinations/d1")["status"]["share"];
  CHECK(share["limitBytes"] == 2'000'000);
  CHECK(share["whenUsedUp"] == "refuse_sources");
  // What was read can be written back, and an export holds no state.
  CHECK(f.Ask("PUT", "/api/v1/destinations/d1", one.dump()).status == 200);
  CHECK_FALSE(f.Get("/api/v1/workspace")["destinations"][0].contains("status"));
}

TEST_CASE("what waits is given up: all of it, one user's, a time span's", "[destinations]") {
  Waiting f(3);
  const int64_t now_us = f.clock.NowMicros();
  struct Case {
    Json body;
    std::string user_key;
    int64_t from_us, before_us;
  };
  const Case cases[] = {
      {{{"user", "u1"}}, "default:u:u1", 0, now_us},
      {{{"anonymousId", "a1"}}, "default:a:a1", 0, now_us},
      {{{"from", "2025-01-01"}, {"before", "2025-01-02T00:00:00Z"}},
       "",
       1'735'689'600'000'000,
       1'735'776'000'000'000},
      {Json::object(), "", 0, now_us},
  };
  for (const Case& c : cases) {
    CAPTURE(c.body.dump());
    const auto before = f.control_plane->config().Current();
    const Json shown = f.Post("/api/v1/destinations/d1/give-up?dry_run=true", c.body);
    CHECK(shown["waiting"] == 3);
    CHECK(shown["applied"] == false);
    CHECK(f.control_plane->config().Current() == before);
    const Json done = f.Post("/api/v1/destinations/d1/give-up", c.body);
    CHECK(done["applied"] == true);
    CHECK(done["revision"] == before->revision() + 1);
    const auto& kept = *f.Destination().give_ups().rbegin();
    CHECK(kept.user_key() == c.user_key);
    CHECK(kept.appended_from_us() == c.from_us);
    CHECK(kept.appended_before_us() == c.before_us);
    CHECK(f.Destination().revision() != before->destinations(0).revision());
  }
  // The last one takes all that the others took.
  CHECK(f.Destination().give_ups_size() == 1);
  CHECK(f.Get("/api/v1/destinations/d1")["status"]["giveUps"].size() == 1);
}

TEST_CASE("give-ups are bounded, and go when they are old", "[destinations]") {
  Waiting f(0);
  for (int i = 0; i < Destinations::kMaxGiveUps; ++i) {
    f.Post("/api/v1/destinations/d1/give-up", {{"user", "u" + std::to_string(i)}});
  }
  const std::string next = R"({"user": "next"})";
  const http::Response refused = f.Ask("POST", "/api/v1/destinations/d1/give-up", next);
  CHECK(refused.status == 429);
  CHECK(refused.body.find("100 give-ups") != std::string::npos);
  f.clock.Advance(Micros(Destinations::kGiveUpAgeUs + 1));
  CHECK(f.Ask("POST", "/api/v1/destinations/d1/give-up", next).status == 200);
  CHECK(f.Destination().give_ups_size() == 1);
  // Also without another one: at the next start.
  f.clock.Advance(Micros(Destinations::kGiveUpAgeUs));
  f.Open();
  CHECK(f.Destination().give_ups_size() == 1);
  f.clock.Advance(Micros(1));
  f.Open();
  CHECK(f.Destination().give_ups().empty());
}

TEST_CASE("a give-up that cannot be is refused with the reason", "[destinations]") {
  struct Case {
    std::string target, body;
    int status;
    std::string message;
  };
  const auto c = GENERATE(values<Case>({
      {"none/give-up", "{}", 404, "there is none with id 'none'"},
      {"d1/give-up", "[]", 400, "must be an object"},
      {"d1/give-up", R"({"user": 5})", 400, "'user' must be text"},
      {"d1/give-up", R"({"users": "u"})", 400, "unknown key 'users'"},
      {"d1/give-up", R"({"before": "soon"})", 400, "'before' is 'soon'; give a time as"},
      {"d1/give-up", R"({"before": "2999-01-01"})", 400, "is in the future"},
      {"d1/give-up", R"({"from": "2025-01-02", "before": "2025-01-01"})", 400, "not earlier"},
      {"d1/give-up", R"({"user": "u", "anonymousId": "a"})", 400, "keep one"},
  }));
  CAPTURE(c.target, c.body);
  Waiting f(0);
  const http::Response response = f.Ask("POST", "/api/v1/destinations/" + c.target, c.body);
  CHECK(response.status == c.status);
  CHECK(response.body.find(c.message) != std::string::npos);
  CHECK(f.control_plane->config().Current()->revision() == 2);
}

TEST_CASE("of a destination that an older version disabled, the time is noted at the start",
          "[destinations]") {
  Waiting f(0);
  f.control_plane.reset();
  {
    const auto store = *Store::Open(f.folder.path() + "/control-plane.db");
    auto workspace = *store->LoadWorkspace();
    workspace.set_revision(workspace.revision() + 1);
    workspace.mutable_destinations(0)->set_enabled(false);
    REQUIRE(store->SaveWorkspace(workspace).ok());
  }
  f.Open();
  CHECK(f.Destination().disabled_at_us() == f.clock.NowMicros());
  const uint64_t revision = f.held->revision();
  f.Open();
  CHECK(f.Destination().disabled_at_us() == f.clock.NowMicros());
  CHECK(f.held->revision() == revision);
}

}  // namespace millrace::control_plane
