#include "libs/service/lag_reporter.h"

#include <catch2/catch.hpp>

#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"

namespace millrace::service {
namespace {

void Append(event_log::EventLog& log, std::string_view topic, int records) {
  const auto transaction = log.NewTransaction("test");
  REQUIRE(transaction.ok());
  REQUIRE((*transaction)->Begin().ok());
  const std::vector<event_log::TopicRecord> all(
      static_cast<size_t>(records), {.topic = topic, .record = {.key = "u", .value = "{}"}});
  REQUIRE((*transaction)->Append(all).ok());
  REQUIRE((*transaction)->Commit().ok());
}

bool Shows(const telemetry::Metrics& metrics, const std::string& line) {
  return metrics.Render().find(line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("the gauges follow what groups have committed", "[lag]") {
  event_log::TestFolder folder;
  const auto log = *event_log::OpenLocalLog({.path = folder.path()});
  REQUIRE(log->EnsureTopic("ingest", {}).ok());
  REQUIRE(log->EnsureTopic("destination.d1", {}).ok());
  REQUIRE(log->EnsureTopic("counters", {}).ok());
  Append(*log, "ingest", 3);
  Append(*log, "destination.d1", 5);
  telemetry::Metrics metrics;
  LagReporter reporter({.log_folder = folder.path()}, *log, metrics);
  REQUIRE(reporter.Report().ok());
  INFO(metrics.Render());
  CHECK(Shows(metrics, "millrace_ingest_pending_events 3"));
  CHECK(Shows(metrics,
              R"(millrace_log_lag_records{group="processor",partition="0",topic="ingest"} 3)"));
  CHECK_FALSE(Shows(metrics, "millrace_log_disk_bytes 0"));
  CHECK(metrics.Render().find("counters") == std::string::npos);

  const auto consumer = *log->NewConsumer({.group = "router", .instance = "test"});
  REQUIRE(consumer->Subscribe({"destination.d1"}).ok());
  REQUIRE(consumer->Poll({}).ok());
  const event_log::CommittedOffset offset{
      .partition = {"destination.d1", 0}, .offset = 4, .metadata = {}};
  REQUIRE(consumer->Commit({&offset, 1}).ok());
  REQUIRE(reporter.Report().ok());
  INFO(metrics.Render());
  CHECK(Shows(metrics, R"(millrace_pending_events{destination="d1"} 1)"));
  CHECK(
      Shows(metrics,
            R"(millrace_log_lag_records{group="router",partition="0",topic="destination.d1"} 1)"));
  CHECK(metrics.Render().find("warehouse-loader") == std::string::npos);
}

TEST_CASE("events of parked users are pending", "[lag]") {
  event_log::TestFolder folder;
  const auto log = *event_log::OpenLocalLog({.path = folder.path()});
  REQUIRE(log->EnsureTopic("destination.d1", {}).ok());
  REQUIRE(log->EnsureTopic("parking.d1", {}).ok());
  Append(*log, "destination.d1", 2);
  Append(*log, "parking.d1", 3);
  telemetry::Metrics metrics;
  LagReporter reporter({}, *log, metrics);
  REQUIRE(reporter.Report().ok());
  INFO(metrics.Render());
  CHECK(Shows(metrics, R"(millrace_pending_events{destination="d1"} 5)"));
}

TEST_CASE("the series of a deleted destination go", "[lag]") {
  event_log::TestFolder folder;
  const auto log = *event_log::OpenLocalLog({.path = folder.path()});
  for (const auto topic : {"destination.d1", "parking.d1", "destination.d2"}) {
    REQUIRE(log->EnsureTopic(topic, {}).ok());
    Append(*log, topic, 1);
  }
  telemetry::Metrics metrics;
  metrics.GetCounter("millrace_other_total", "Of the router.", {{"destination", "d1"}}).Add(1);
  LagReporter reporter({}, *log, metrics);
  REQUIRE(reporter.Report().ok());
  CHECK(metrics.Render().find("d1") != std::string::npos);
  REQUIRE(log->DeleteTopic("destination.d1").ok());
  REQUIRE(log->DeleteTopic("parking.d1").ok());
  REQUIRE(reporter.Report().ok());
  INFO(metrics.Render());
  CHECK(metrics.Render().find("d1") == std::string::npos);
  CHECK(Shows(metrics, R"(millrace_pending_events{destination="d2"} 1)"));
}

TEST_CASE("a destination that nobody has read yet has all of its events pending", "[lag]") {
  event_log::TestFolder folder;
  const auto log = *event_log::OpenLocalLog({.path = folder.path()});
  REQUIRE(log->EnsureTopic("destination.d1", {}).ok());
  Append(*log, "destination.d1", 2);
  telemetry::Metrics metrics;
  LagReporter reporter({}, *log, metrics);
  REQUIRE(reporter.Report().ok());
  CHECK(Shows(metrics, R"(millrace_pending_events{destination="d1"} 2)"));
}

}  // namespace millrace::service
