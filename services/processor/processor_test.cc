#include "services/processor/processor.h"

#include <catch2/catch.hpp>

#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "libs/base/failpoint.h"
#include "libs/base/mutex.h"
#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"
#include "millrace/accounting/v1/accounting.pb.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "millrace/event/v1/event.pb.h"

namespace millrace::processor {
namespace {

using accounting::v1::Fate;
using Counts = std::map<std::tuple<std::string, std::string, Fate, std::string>, int64_t>;

constexpr std::chrono::seconds kPatience{30};

/// A configuration that tests set.
class FixedConfig final : public config::ConfigSource {
 public:
  config::WorkspacePtr Current() const override {
    MutexLock lock(mu_);
    return current_;
  }
  std::shared_ptr<void> Subscribe(std::function<void(config::WorkspacePtr)> listener) override {
    MutexLock lock(mu_);
    if (current_ != nullptr) listener(current_);
    listeners_.push_back(std::move(listener));
    return std::make_shared<int>(0);
  }
  void Set(config::WorkspacePtr workspace) {
    MutexLock lock(mu_);
    current_ = std::move(workspace);
    for (const auto& listener : listeners_) listener(current_);
  }

 private:
  mutable Mutex mu_;
  config::WorkspacePtr current_;
  std::vector<std::function<void(config::WorkspacePtr)>> listeners_;
};

std::shared_ptr<config::v1::Workspace> TestWorkspace() {
  auto workspace = std::make_shared<config::v1::Workspace>();
  workspace->set_id("w1");
  for (const char* id : {"s1", "lonely"}) workspace->add_sources()->set_id(id);
  for (const char* id : {"d1", "d2", "off"}) {
    auto* destination = workspace->add_destinations();
    destination->set_id(id);
    destination->set_type("WEBHOOK");
    destination->set_enabled(std::string_view(id) != "off");
    auto* connection = workspace->add_connections();
    connection->set_source_id("s1");
    connection->set_destination_id(id);
    connection->set_enabled(true);
  }
  return workspace;
}

/// A processor on a local log, with a writer to `ingest`.
struct Fixture {
  explicit Fixture(config::WorkspacePtr workspace = TestWorkspace()) {
    definition.set_type("WEBHOOK");
    config = std::make_unique<FixedConfig>();
    if (workspace != nullptr) config->Set(std::move(workspace));
    log = *event_log::OpenLocalLog({.path = folder.path() + "/log"});
    for (const auto topic : {event_log::kIngestTopic, event_log::kDedupTopic}) {
      REQUIRE(log->EnsureTopic(std::string(topic), {.partitions = 2}).ok());
    }
    appender = *log->NewAppender();
  }
  ~Fixture() { (void)ArmFailpoints(""); }

  void Start(uint32_t workers = 1) {
    settings::v1::ProcessorSettings settings;
    settings.set_state_dir(folder.path() + "/processor");
    settings.set_workers(workers);
    processor = *Processor::Create(
        settings, {.log = *log,
                   .clock = SystemClock(),
                   .metrics = metrics,
                   .workspace = *config,
                   .types = [this](std::string_view) { return &definition; }});
    REQUIRE(processor->Start().ok());
  }
  void Stop() {
    processor->Stop(std::chrono::seconds(5));
    processor.reset();
  }

  void Send(const std::string& source, const std::string& message_id,
            const std::string& members = "", const std::string& rejected = "") {
    event::v1::EventMeta meta;
    meta.set_workspace_id("w1");
    meta.set_source_id(source);
    meta.set_message_id(message_id);
    meta.set_type(event::v1::TRACK);
    meta.set_received_at_us(SystemClock().NowMicros());
    meta.set_rejected_reason(rejected);
    const std::string bytes = meta.SerializeAsString();
    const std::string value = R"({"type":"track","event":"Bought")" + members + "}";
    const std::string key = "user-" + message_id;
    const event_log::TopicRecord record{.topic = event_log::kIngestTopic,
                                        .record = {.key = key, .meta = bytes, .value = value}};
    std::promise<Status> done;
    appender->Append({&record, 1}, [&done](Status status) { done.set_value(std::move(status)); });
    REQUIRE(done.get_future().get().ok());
    ++sent;
  }

  /// Every value of a topic, from the beginning.
  std::vector<std::string> Values(const std::string& topic) {
    const auto infos = *log->Describe(topic);
    std::vector<event_log::CommittedOffset> positions;
    size_t expected = 0;
    for (const auto& info : infos) {
      positions.push_back({{topic, info.partition}, -1, ""});
      expected += static_cast<size_t>(info.end_offset - info.begin_offset);
    }
    const auto reader = *log->NewConsumer({});
    REQUIRE(reader->Assign(positions).ok());
    std::vector<std::string> values;
    while (values.size() < expected) {
      const auto batch = *reader->Poll({});
      for (const auto& record : batch.records) {
        values.emplace_back(record.value);
        metas.emplace_back(record.meta);
      }
    }
    return values;
  }

  Counts Counted() {
    Counts counts;
    for (const std::string& value : Values(std::string(event_log::kCountersTopic))) {
      accounting::v1::Counters counters;
      REQUIRE(counters.ParseFromString(value));
      for (const auto& count : counters.counts()) {
        counts[{count.source_id(), count.destination_id(), count.fate(), count.reason()}] +=
            count.count();
      }
    }
    return counts;
  }
  static int64_t Of(const Counts& counts, Fate fate, const std::string& destination = "") {
    int64_t sum = 0;
    for (const auto& [key, count] : counts) {
      if (std::get<2>(key) == fate && std::get<1>(key) == destination) sum += count;
    }
    return sum;
  }
  /// Returns once all that was sent is counted as accepted.
  Counts WaitUntilCounted() {
    const auto reader = *log->NewConsumer({});
    const event_log::CommittedOffset start{{std::string(event_log::kCountersTopic), 0}, -1, ""};
    REQUIRE(reader->Assign({&start, 1}).ok());
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    int64_t accepted = 0;
    while (accepted < sent && std::chrono::steady_clock::now() < deadline) {
      const auto batch = *reader->Poll({.timeout = std::chrono::milliseconds(1000)});
      for (const auto& record : batch.records) {
        accounting::v1::Counters counters;
        REQUIRE(counters.ParseFromArray(record.value.data(), static_cast<int>(record.value.size())));
        for (const auto& count : counters.counts()) {
          if (count.fate() == accounting::v1::ACCEPTED) accepted += count.count();
        }
      }
    }
    CHECK(accepted == sent);
    return Counted();
  }

  event_log::TestFolder folder;
  destination::v1::Definition definition;
  telemetry::Metrics metrics;
  std::unique_ptr<FixedConfig> config;
  std::unique_ptr<event_log::EventLog> log;
  std::unique_ptr<event_log::Appender> appender;
  std::unique_ptr<Processor> processor;
  std::vector<std::string> metas;
  int64_t sent = 0;
};

TEST_CASE("What travels beside an event stays small, however long its name", "[processor]") {
  Fixture f;
  f.Start();
  f.Send("s1", "long", R"(,"event":")" + std::string(5000, 'x') + "\"");
  (void)f.WaitUntilCounted();
  f.Stop();
  f.metas.clear();
  REQUIRE(f.Values("destination.d1").size() == 1);
  CHECK(f.metas[0].size() < 2000);
  delivery::v1::DeliveryMeta meta;
  REQUIRE(meta.ParseFromString(f.metas[0]));
  CHECK(meta.event_name() == std::string(1024, 'x'));
}

TEST_CASE("Every event is counted once and goes where it belongs", "[processor]") {
  Fixture f;
  f.Start();
  f.Send("s1", "plain");
  f.Send("s1", "plain");
  f.Send("s1", "only-d2", R"(,"integrations":{"All":false,"d2":true})");
  f.Send("s1", "odd", R"(,"integrations":{"All":"yes"})");
  f.Send("lonely", "l1");
  f.Send("deleted", "x1");
  f.Send("s1", "bad", "", "event is too deep");
  const Counts counts = f.WaitUntilCounted();
  f.Stop();

  CHECK(counts == Counts{
                      {{"s1", "", accounting::v1::ACCEPTED, ""}, 5},
                      {{"lonely", "", accounting::v1::ACCEPTED, ""}, 1},
                      {{"deleted", "", accounting::v1::ACCEPTED, ""}, 1},
                      {{"s1", "", accounting::v1::DUPLICATE, ""}, 1},
                      {{"s1", "", accounting::v1::PASSED_ON, ""}, 3},
                      {{"s1", "d1", accounting::v1::PASSED_ON, ""}, 3},
                      {{"s1", "d2", accounting::v1::PASSED_ON, ""}, 3},
                      {{"s1", "off", accounting::v1::PASSED_ON, ""}, 3},
                      {{"s1", "d1", accounting::v1::ROUTED, ""}, 2},
                      {{"s1", "d1", accounting::v1::FILTERED, "integrations_object"}, 1},
                      {{"s1", "d2", accounting::v1::ROUTED, ""}, 3},
                      {{"s1", "off", accounting::v1::FILTERED, "destination_disabled"}, 3},
                      {{"lonely", "", accounting::v1::SOURCE_FILTERED, "no_connection"}, 1},
                      {{"deleted", "", accounting::v1::SOURCE_DEAD_LETTERED, "source_unknown"}, 1},
                      {{"s1", "", accounting::v1::SOURCE_DEAD_LETTERED, "rejected_by_gateway"}, 1},
                  });
  CHECK(f.Values("destination.off").empty());
  CHECK(f.Values("destination.d2").size() == 3);
  f.metas.clear();
  const auto values = f.Values("destination.d1");
  REQUIRE(values.size() == 2);
  CHECK(values[0].find(R"("receivedAt":")") != std::string::npos);
  delivery::v1::DeliveryMeta meta;
  REQUIRE(meta.ParseFromString(f.metas[0]));
  CHECK(meta.workspace_id() == "w1");
  CHECK(meta.source_id() == "s1");
  CHECK(meta.destination_id() == "d1");
  CHECK(meta.type() == event::v1::TRACK);
  CHECK(meta.event_name() == "Bought");
  CHECK(meta.received_at_us() > 0);

  std::map<std::string, delivery::v1::DeadLetter> letters;
  for (const std::string& value : f.Values(std::string(event_log::kDeadLetterTopic))) {
    delivery::v1::DeadLetter letter;
    REQUIRE(letter.ParseFromString(value));
    letters[letter.message_id()] = letter;
  }
  REQUIRE(letters.size() == 2);
  CHECK(letters["bad"].stage() == "gateway");
  CHECK(letters["bad"].reason() == "event is too deep");
  CHECK(letters["x1"].stage() == "processor");
  CHECK(letters["x1"].reason() == "the source is not in the workspace any more");
  CHECK(letters["x1"].user_key() == "user-x1");
  CHECK(f.metrics.Render().find("millrace_processor_bad_integrations_total 1") != std::string::npos);
}

TEST_CASE("An error at any step neither loses nor repeats an event", "[processor]") {
  const std::string failpoint = GENERATE("processor.after_poll", "processor.after_transform",
                                         "processor.before_commit", "processor.after_commit");
  CAPTURE(failpoint);
  Fixture f;
  f.Send("s1", "m0");
  REQUIRE(ArmFailpoints(failpoint + ":2:error").ok());
  f.Start();
  f.WaitUntilCounted();
  for (int i = 1; i < 20; ++i) f.Send("s1", "m" + std::to_string(i));
  f.WaitUntilCounted();
  for (int i = 0; i < 20; ++i) f.Send("s1", "m" + std::to_string(i));  // all sent again
  const Counts counts = f.WaitUntilCounted();
  f.Stop();
  CHECK(Fixture::Of(counts, accounting::v1::ACCEPTED) == 40);
  CHECK(Fixture::Of(counts, accounting::v1::ROUTED, "d1") == 20);
  CHECK(Fixture::Of(counts, accounting::v1::DUPLICATE) == 20);
  CHECK(f.Values("destination.d1").size() == 20);
}

TEST_CASE("A new processor goes on where the old one stopped", "[processor]") {
  Fixture f;
  const bool lose_state = GENERATE(false, true);
  const uint32_t workers = GENERATE(1u, 2u);
  CAPTURE(lose_state, workers);
  f.Start();
  for (int i = 0; i < 10; ++i) f.Send("s1", "m" + std::to_string(i));
  f.WaitUntilCounted();
  f.Stop();
  if (lose_state) std::filesystem::remove_all(f.folder.path() + "/processor");
  for (int i = 5; i < 15; ++i) f.Send("s1", "m" + std::to_string(i));
  f.Start(workers);
  const Counts counts = f.WaitUntilCounted();
  f.Stop();
  CHECK(Fixture::Of(counts, accounting::v1::ROUTED, "d1") == 15);
  CHECK(Fixture::Of(counts, accounting::v1::DUPLICATE) == 5);
  CHECK(f.Values("destination.d1").size() == 15);
}

TEST_CASE("Without a configuration nothing is read; then all of it is", "[processor]") {
  Fixture f(nullptr);
  f.Send("s1", "m1");
  f.Start();
  CHECK((*f.log->Committed("processor", std::string(event_log::kIngestTopic)))[0].offset == -1);
  f.config->Set(TestWorkspace());
  CHECK(Fixture::Of(f.WaitUntilCounted(), accounting::v1::ROUTED, "d1") == 1);
  auto grown = TestWorkspace();
  auto* destination = grown->add_destinations();
  destination->set_id("new");
  destination->set_type("WEBHOOK");
  destination->set_enabled(true);
  auto* connection = grown->add_connections();
  connection->set_source_id("s1");
  connection->set_destination_id("new");
  connection->set_enabled(true);
  f.config->Set(grown);
  f.Send("s1", "m2");
  CHECK(Fixture::Of(f.WaitUntilCounted(), accounting::v1::ROUTED, "new") == 1);
  f.Stop();
}

TEST_CASE("Settings that cannot be are refused by name", "[processor]") {
  Fixture f;
  settings::v1::ProcessorSettings settings;
  const auto create = [&] {
    return Processor::Create(settings, {.log = *f.log,
                                        .clock = SystemClock(),
                                        .metrics = f.metrics,
                                        .workspace = *f.config,
                                        .types = [](std::string_view) { return nullptr; }})
        .status();
  };
  CHECK(std::string(Message(create())).find("state_dir") != std::string::npos);
  settings.set_state_dir(f.folder.path());
  settings.set_workers(10'000);
  CHECK(std::string(Message(create())).find("workers") != std::string::npos);
}

}  // namespace
}  // namespace millrace::processor
