#pragma once

#include <catch2/catch.hpp>

#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "libs/base/failpoint.h"
#include "libs/base/hash.h"
#include "libs/base/mutex.h"
#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"
#include "millrace/accounting/v1/accounting.pb.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "millrace/event/v1/event.pb.h"
#include "services/processor/processor.h"
#include "services/processor/test_transformers.h"

/// What the tests of the whole processor share.
namespace millrace::processor {

using accounting::v1::Fate;
using Counts = std::map<std::tuple<std::string, std::string, Fate, std::string>, int64_t>;

inline constexpr std::chrono::seconds kPatience{30};

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

inline std::shared_ptr<config::v1::Workspace> TestWorkspace() {
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
    OpenLog({.path = folder.path() + "/log"});
  }
  ~Fixture() { (void)ArmFailpoints(""); }

  /// Another log in place of the one before.
  void OpenLog(const event_log::LocalLogOptions& options) {
    appender.reset();
    log = *event_log::OpenLocalLog(options);
    for (const auto topic :
         {event_log::kIngestTopic, event_log::kDedupTopic, event_log::kStateTopic}) {
      REQUIRE(log->EnsureTopic(std::string(topic), {.partitions = 2}).ok());
    }
    if (config->Current() != nullptr) MakeTopics(*config->Current());
    appender = *log->NewAppender();
  }
  /// As the control plane does before it publishes a workspace.
  void MakeTopics(const config::v1::Workspace& workspace) {
    for (const auto& destination : workspace.destinations()) {
      if (!topics_made) return;
      REQUIRE(log->EnsureTopic(event_log::DestinationTopic(destination.id()), {}).ok());
    }
  }
  void Start(uint32_t workers = 1) {
    settings.set_state_dir(folder.path() + "/processor");
    settings.set_workers(workers);
    processor =
        *Processor::Create(settings, {.log = *log,
                                      .clock = SystemClock(),
                                      .metrics = metrics,
                                      .workspace = *config,
                                      .types = [this](std::string_view) { return &definition; },
                                      .ingest_partitions = 2,
                                      .transformers = &transformers,
                                      .transformation = transformation});
    REQUIRE(processor->Start().ok());
  }
  /// Puts a configuration in force and returns once it is.
  void Configure(std::shared_ptr<config::v1::Workspace> workspace) {
    workspace->set_revision(++revision);
    MakeTopics(*workspace);
    config->Set(std::move(workspace));
    const std::string wanted = "millrace_processor_workspace_revision " + std::to_string(revision);
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (metrics.Render().find(wanted + "\n") == std::string::npos) {
      REQUIRE(std::chrono::steady_clock::now() < deadline);
      std::this_thread::yield();
    }
  }
  /// Every letter in the dead letters, in the order of its partition.
  std::vector<delivery::v1::DeadLetter> Letters() {
    std::vector<delivery::v1::DeadLetter> letters;
    for (const std::string& value : Values(std::string(event_log::kDeadLetterTopic))) {
      REQUIRE(letters.emplace_back().ParseFromString(value));
    }
    return letters;
  }
  /// Metadata of the records that the last Values read.
  std::vector<delivery::v1::DeliveryMeta> Metas() {
    std::vector<delivery::v1::DeliveryMeta> parsed;
    for (const std::string& meta : metas) REQUIRE(parsed.emplace_back().ParseFromString(meta));
    return parsed;
  }
  void Stop() {
    processor->Stop(std::chrono::seconds(5));
    processor.reset();
  }

  void Send(const std::string& source, const std::string& message_id,
            const std::string& members = "", const std::string& rejected = "") {
    SendAs("user-" + message_id, source, message_id, members, rejected);
  }
  void SendAs(const std::string& key, const std::string& source, const std::string& message_id,
              const std::string& members = "", const std::string& rejected = "") {
    event::v1::EventMeta meta;
    meta.set_workspace_id("w1");
    meta.set_source_id(source);
    meta.set_message_id(message_id);
    meta.set_type(event::v1::TRACK);
    meta.set_received_at_us(SystemClock().NowMicros());
    meta.set_rejected_reason(rejected);
    Append(key, meta, R"({"type":"track","event":"Bought")" + members + "}");
  }
  /// Events with the ids "m<first>" and so on, in one append.
  void SendMany(const std::string& source, int first, int count) {
    std::vector<std::string> texts;  // key and metadata of each
    for (int i = first; i < first + count; ++i) {
      event::v1::EventMeta meta;
      meta.set_workspace_id("w1");
      meta.set_source_id(source);
      meta.set_message_id("m" + std::to_string(i));
      meta.set_type(event::v1::TRACK);
      meta.set_received_at_us(SystemClock().NowMicros());
      texts.push_back("user-" + meta.message_id());
      texts.push_back(meta.SerializeAsString());
    }
    std::vector<event_log::TopicRecord> records;
    for (size_t i = 0; i < texts.size(); i += 2) {
      records.push_back({.topic = event_log::kIngestTopic,
                         .record = {.key = texts[i],
                                    .meta = texts[i + 1],
                                    .value = R"({"type":"track","event":"Bought"})"}});
    }
    std::promise<Status> done;
    appender->Append(records, [&done](Status status) { done.set_value(std::move(status)); });
    REQUIRE(done.get_future().get().ok());
    sent += count;
  }
  /// Puts a record into `ingest`.
  void Append(const std::string& key, const event::v1::EventMeta& meta, const std::string& value) {
    const std::string bytes = meta.SerializeAsString();
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
    metas.clear();
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
        REQUIRE(
            counters.ParseFromArray(record.value.data(), static_cast<int>(record.value.size())));
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
  settings::v1::ProcessorSettings settings;
  telemetry::Metrics metrics;
  TestTransformers transformers;
  settings::v1::TransformationSettings transformation;
  uint64_t revision = 1;
  bool topics_made = true;
  std::unique_ptr<FixedConfig> config;
  std::unique_ptr<event_log::EventLog> log;
  std::unique_ptr<event_log::Appender> appender;
  std::unique_ptr<Processor> processor;
  std::vector<std::string> metas;
  int64_t sent = 0;
};

}  // namespace millrace::processor
