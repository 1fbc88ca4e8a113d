#include "services/control-plane/topic_keeper.h"

#include <catch2/catch.hpp>

#include <set>

#include "libs/config/local_source.h"
#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"

namespace millrace::control_plane {
namespace {

using Strings = std::vector<std::string>;

/// A keeper of topics that are names in a set; some cannot be made or deleted.
struct Fixture {
  Fixture() {
    for (const auto topic :
         {event_log::kCountersTopic, event_log::kDeadLetterTopic, event_log::kReportTopic}) {
      REQUIRE(log->EnsureTopic(std::string(topic), {}).ok());
    }
    Restart();
    reader.Start();
  }
  ~Fixture() { reader.Stop(); }

  void Restart() {
    keeper = std::make_unique<TopicKeeper>(
        TopicKeeperDeps{.log = *log,
                        .clock = clock,
                        .store = *store,
                        .reader = reader,
                        .config = config,
                        .make = [this](const config::v1::Destination& destination) -> Status {
                          ++attempts;
                          if (const auto found = broken.find(destination.id());
                              found != broken.end()) {
                            return Error(found->second, "no topic for {}", destination.id());
                          }
                          topics.insert(destination.id());
                          return OkStatus();
                        },
                        .remove = [this](const std::string& id) -> Status {
                          ++attempts;
                          if (broken.contains(id)) {
                            return Error(StatusCode::kUnavailable, "cannot delete {}", id);
                          }
                          topics.erase(id);
                          return OkStatus();
                        }},
        TopicKeeperOptions{.grace = std::chrono::milliseconds(5000)});
  }

  /// As the API puts a change in force.
  void Publish(const Strings& ids) {
    auto workspace = *store->LoadWorkspace();
    workspace.set_revision(workspace.revision() + 1);
    workspace.set_updated_at_us(clock.NowMicros());
    workspace.clear_destinations();
    for (const std::string& id : ids) workspace.add_destinations()->set_id(id);
    REQUIRE(store->SaveWorkspace(workspace).ok());
    keeper->Ensure(workspace);
    config.Set(std::make_shared<const config::v1::Workspace>(workspace));
  }
  Strings Topics() const { return {topics.begin(), topics.end()}; }
  void Wait(std::chrono::milliseconds time) {
    clock.Advance(time);
    keeper->RunOnce();
  }
  void Count(const std::string& destination, int64_t routed) {
    accounting::v1::Counters counters;
    counters.set_stage("processor");
    auto* one = counters.add_counts();
    one->set_source_id("s");
    one->set_destination_id(destination);
    one->set_fate(accounting::v1::ROUTED);
    one->set_count(routed);
    const std::string value = counters.SerializeAsString();
    const event_log::TopicRecord record{.topic = event_log::kCountersTopic,
                                        .record = {.value = value}};
    const auto transaction = *log->NewTransaction("test");
    REQUIRE(transaction->Begin().ok());
    REQUIRE(transaction->Append({&record, 1}).ok());
    REQUIRE(transaction->Commit().ok());
  }

  event_log::TestFolder folder;
  FakeClock clock;
  std::unique_ptr<event_log::EventLog> log =
      *event_log::OpenLocalLog({.path = folder.path() + "/log"});
  std::unique_ptr<Store> store = *Store::Open(folder.path() + "/s.db");
  std::unique_ptr<Store> former_store;
  LogReader reader{*log, *store, clock, {}};
  config::LocalSource config;
  std::set<std::string> topics;
  std::map<std::string, StatusCode> broken;
  int attempts = 0;
  std::unique_ptr<TopicKeeper> keeper;
};

constexpr std::chrono::milliseconds kMinute{60'000};

}  // namespace

TEST_CASE("topics are there before the configuration is published that names them", "[topics]") {
  Fixture f;
  Strings at_publication;
  const auto handle = f.config.Subscribe([&](const auto&) { at_publication = f.Topics(); });
  f.Publish({"a", "b"});
  CHECK(at_publication == Strings{"a", "b"});
  CHECK(f.attempts == 2);
  f.Publish({"a", "b", "c"});
  CHECK(at_publication == Strings{"a", "b", "c"});
  CHECK(f.attempts == 3);  // those that are there are left alone
}

TEST_CASE("a topic that cannot be made stops neither the others nor the publication", "[topics]") {
  Fixture f;
  f.broken["b"] = StatusCode::kInvalidArgument;
  f.Publish({"a", "b", "c"});
  CHECK(f.config.Current()->destinations_size() == 3);
  CHECK(f.Topics() == Strings{"a", "c"});
  CHECK(f.keeper->FaultOf("b") == "no topic for b");
  CHECK(f.keeper->FaultOf("a").empty());
  const int before = f.attempts;
  f.keeper->RunOnce();  // not at once again
  CHECK(f.attempts == before);
  f.Wait(kMinute);
  CHECK(f.attempts == before + 1);
  f.broken.clear();
  f.Wait(kMinute);
  CHECK(f.Topics() == Strings{"a", "b", "c"});
  CHECK(f.keeper->FaultOf("b").empty());
}

TEST_CASE("a log that is away is asked once for a publication, and for all topics later",
          "[topics]") {
  Fixture f;
  for (const char* id : {"a", "b", "c"}) f.broken[id] = StatusCode::kUnavailable;
  f.Publish({"a", "b", "c"});
  CHECK(f.attempts == 1);
  CHECK_FALSE(f.keeper->FaultOf("c").empty());
  f.broken.clear();
  f.Wait(kMinute);
  CHECK(f.Topics() == Strings{"a", "b", "c"});
}

TEST_CASE("a destination that failed and was deleted is not tried again", "[topics]") {
  Fixture f;
  f.broken["b"] = StatusCode::kInvalidArgument;
  f.Publish({"a", "b"});
  f.Publish({"a"});
  f.broken.clear();
  f.Wait(kMinute);
  CHECK(f.Topics() == Strings{"a"});
  CHECK(f.keeper->FaultOf("b").empty());
}

TEST_CASE("a deleted destination's topics go within a minute, also after a restart", "[topics]") {
  Fixture f;
  f.Publish({"a", "b"});
  f.Count("a", 7);
  SECTION("without a restart") {
    f.Publish({"b"});
  }
  SECTION("with one") {
    f.Publish({"b"});
    f.Restart();
  }
  f.keeper->RunOnce();
  CHECK(f.Topics() == Strings{"a", "b"});  // the services may have it in hand yet
  f.Wait(std::chrono::milliseconds(6000));
  CHECK(f.Topics() == Strings{"b"});
  CHECK(f.store->DeletedDestinations()->at(0).settled);
  CHECK(f.store->Waiting()->at("a") == 0);  // the seven are counted as dead-lettered
  const int before = f.attempts;
  f.Wait(kMinute);
  CHECK(f.attempts == before);
}

TEST_CASE("topics that cannot be deleted are tried again", "[topics]") {
  Fixture f;
  f.Publish({"a"});
  f.Publish({});
  f.broken["a"] = StatusCode::kUnavailable;
  f.Wait(kMinute);
  CHECK(f.Topics() == Strings{"a"});
  CHECK_FALSE(f.store->DeletedDestinations()->at(0).settled);
  f.broken.clear();
  f.Wait(kMinute);
  CHECK(f.Topics().empty());
}

TEST_CASE("topics stay when a workspace comes up without their destinations", "[topics]") {
  Fixture f;
  f.Publish({"a", "b"});
  // A store that was emptied or restored notes no deletion.
  f.former_store = std::move(f.store);
  f.store = *Store::Open(f.folder.path() + "/other.db");
  f.Restart();
  f.config.Set(std::make_shared<const config::v1::Workspace>(*f.store->LoadWorkspace()));
  f.keeper->Ensure(*f.config.Current());
  f.Wait(kMinute);
  CHECK(f.Topics() == Strings{"a", "b"});
}

TEST_CASE("a new destination with the id of a deleted one has topics of its own", "[topics]") {
  Fixture f;
  f.Publish({"a"});
  f.Count("a", 3);
  f.Publish({});
  REQUIRE(f.keeper->Finish("a").ok());
  CHECK(f.Topics().empty());
  CHECK(f.store->Waiting()->at("a") == 0);
  f.Publish({"a"});
  CHECK(f.Topics() == Strings{"a"});
  f.Wait(kMinute);
  CHECK(f.Topics() == Strings{"a"});
  CHECK(f.keeper->Finish("a").ok());  // nothing to do
  CHECK(f.Topics() == Strings{"a"});
}

}  // namespace millrace::control_plane
