// Warehouses beside one another: what one does, or does not do, is no business of the others.
#include <catch2/catch.hpp>

#include <chrono>
#include <condition_variable>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/config/local_source.h"
#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "services/warehouse-loader/warehouse_loader.h"

namespace millrace::warehouse_loader {
namespace {

constexpr std::chrono::seconds kPatience{30};

class PlainDialect final : public warehouse::Dialect {
 public:
  warehouse::NameRules Names() const override { return {}; }
  size_t MaxColumns() const override { return 100; }
  std::string SqlType(warehouse::DataType) const override { return "text"; }
  warehouse::DataType ParseType(std::string_view) const override { return {}; }
  std::string Quote(std::string_view name) const override { return std::string(name); }
  std::vector<std::string> Ddl(std::string_view, const warehouse::SchemaChange&) const override {
    return {};
  }
};

/// What the fake warehouses have seen. Any thread.
class Seen {
 public:
  void Add(const std::string& what, int64_t count = 1) {
    MutexLock lock(mu_);
    counts_[what] += count;
    changed_.notify_all();
  }
  int64_t Count(const std::string& what) {
    MutexLock lock(mu_);
    return counts_[what];
  }
  /// Whether it comes to be so much.
  bool Await(const std::string& what, int64_t count) {
    MutexLock lock(mu_);
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (counts_[what] < count) {
      if (changed_.wait_until(lock.native(), until) == std::cv_status::timeout) return false;
    }
    return true;
  }

 private:
  Mutex mu_;
  std::condition_variable changed_;
  std::map<std::string, int64_t> counts_ ABSL_GUARDED_BY(mu_);
};

/// Host "hangs": what it is asked takes until it is cancelled. Every other takes all.
class FakeSession final : public warehouse::Session {
 public:
  FakeSession(std::string host, std::stop_token cancel, Seen& seen)
      : host_(std::move(host)), cancel_(std::move(cancel)), seen_(seen) {}

  StatusOr<warehouse::Schema> ReadSchema() override {
    if (host_ == "hangs") {
      seen_.Add("hanging");
      std::promise<void> cancelled;
      const std::stop_callback on_cancel(cancel_, [&cancelled] { cancelled.set_value(); });
      cancelled.get_future().wait();
      return Error(StatusCode::kUnavailable, "cancelled");
    }
    return warehouse::Schema();
  }
  StatusOr<std::vector<warehouse::Position>> ReadPositions(std::string_view) override {
    return positions_;
  }
  StatusOr<warehouse::LoadResult> Write(const warehouse::Load& load) override {
    for (const auto& change : load.positions) {
      positions_.push_back(change.to);
      seen_.Add(host_, change.events);
    }
    return warehouse::LoadResult();
  }

 private:
  const std::string host_;
  const std::stop_token cancel_;
  Seen& seen_;
  std::vector<warehouse::Position> positions_;
};

class FakeWarehouse final : public warehouse::Warehouse {
 public:
  explicit FakeWarehouse(Seen& seen) : seen_(seen) {}
  std::string_view type() const override { return "FAKE"; }
  const warehouse::Dialect& dialect() const override { return dialect_; }
  StatusOr<std::unique_ptr<warehouse::Session>> Connect(const destination::Config& config,
                                                        std::stop_token cancel) const override {
    return std::make_unique<FakeSession>(config.Text("host"), std::move(cancel), seen_);
  }

 private:
  const PlainDialect dialect_;
  Seen& seen_;
};

struct Fixture {
  Fixture() {
    warehouses.push_back(std::make_unique<FakeWarehouse>(seen));
    auto& field = *definition.add_fields();
    field.set_name("host");
    field.set_kind(destination::v1::STRING);
    workspace->set_id("w");
  }
  config::v1::Destination& Add(const std::string& id, const std::string& host) {
    auto& destination = *workspace->add_destinations();
    destination.set_id(id);
    destination.set_type("FAKE");
    destination.set_enabled(true);
    destination.set_config_json(R"({"host":")" + host + R"("})");
    return destination;
  }
  void Publish() { source.Set(std::make_shared<config::v1::Workspace>(*workspace)); }
  void MakeTopic(const std::string& id) {
    REQUIRE(log->EnsureTopic(event_log::DestinationTopic(id), {}).ok());
  }
  void Send(const std::string& id) {
    delivery::v1::DeliveryMeta meta;
    meta.set_workspace_id("w");
    meta.set_source_id("s");
    meta.set_destination_id(id);
    meta.set_message_id("m");
    const std::string bytes = meta.SerializeAsString();
    const std::string topic = event_log::DestinationTopic(id);
    const event_log::TopicRecord record{
        .topic = topic,
        .record = {.key = "u", .meta = bytes, .value = R"({"type":"track","event":"Bought"})"}};
    std::promise<Status> done;
    (*log->NewAppender())->Append({&record, 1}, [&done](Status status) {
      done.set_value(std::move(status));
    });
    REQUIRE(done.get_future().get().ok());
  }
  std::unique_ptr<WarehouseLoader> Start() {
    settings::v1::WarehouseLoaderSettings settings;
    settings.set_sync_interval_ms(1);
    auto loader = *WarehouseLoader::Create(
        settings, {.log = *log,
                   .clock = SystemClock(),
                   .metrics = metrics,
                   .workspace = source,
                   .warehouses = warehouses,
                   .read_config = [this](const config::v1::Destination& destination) {
                     return destination::NormaliseConfig(definition, destination.config_json());
                   }});
    REQUIRE(loader->Start().ok());
    return loader;
  }

  event_log::TestFolder folder;
  Seen seen;
  std::vector<std::unique_ptr<warehouse::Warehouse>> warehouses;
  destination::v1::Definition definition;
  telemetry::Metrics metrics;
  std::shared_ptr<config::v1::Workspace> workspace = std::make_shared<config::v1::Workspace>();
  config::LocalSource source;
  std::unique_ptr<event_log::EventLog> log =
      *event_log::OpenLocalLog({.path = folder.path() + "/log"});
};

TEST_CASE("A warehouse that hangs holds up no other's start or load, and not the end",
          "[isolation]") {
  Fixture f;
  for (const char* id : {"a", "b"}) f.MakeTopic(id);
  f.Add("a", "hangs");
  f.Publish();
  const auto loader = f.Start();
  REQUIRE(f.seen.Await("hanging", 1));
  SECTION("as it stays") {}
  SECTION("as its configuration changes") {
    f.workspace->mutable_destinations(0)->set_config_json(R"({"host":"well"})");
  }
  SECTION("as it is deleted") {
    f.workspace->clear_destinations();
  }
  f.Add("b", "other");
  f.Publish();
  f.Send("b");
  CHECK(f.seen.Await("other", 1));
  loader->Stop(std::chrono::milliseconds(1));
  CHECK(f.seen.Count("hanging") == 1);
}

TEST_CASE("A destination waits for its topic, which the loader does not make", "[isolation]") {
  Fixture f;
  f.MakeTopic("a");
  f.Add("a", "one");
  f.Add("b", "two");
  f.Publish();
  const auto loader = f.Start();
  f.Send("a");
  REQUIRE(f.seen.Await("one", 1));
  CHECK(f.log->Describe(event_log::DestinationTopic("b")).status().code() == StatusCode::kNotFound);
  f.MakeTopic("b");
  f.Send("b");
  CHECK(f.seen.Await("two", 1));
  loader->Stop(kPatience);
}

TEST_CASE("Of a paused or disabled destination the events wait in the log", "[isolation]") {
  Fixture f;
  for (const char* id : {"a", "b", "c"}) f.MakeTopic(id);
  f.Add("a", "one").set_paused(true);
  f.Add("b", "two").set_enabled(false);
  f.Add("c", "three");
  f.Publish();
  const auto loader = f.Start();
  for (const char* id : {"a", "b", "c"}) f.Send(id);
  REQUIRE(f.seen.Await("three", 1));
  CHECK(f.seen.Count("one") + f.seen.Count("two") == 0);
  f.workspace->mutable_destinations(0)->set_paused(false);
  f.workspace->mutable_destinations(1)->set_enabled(true);
  f.Publish();
  CHECK(f.seen.Await("one", 1));
  CHECK(f.seen.Await("two", 1));
  loader->Stop(kPatience);
}

}  // namespace
}  // namespace millrace::warehouse_loader
