// The loader against a real server: MILLRACE_TEST_POSTGRES is a libpq conninfo
// (tests/support/postgres.sh).
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <future>
#include <iostream>
#include <map>
#include <set>
#include <thread>

#include "libs/base/failpoint.h"
#include "libs/config/local_source.h"
#include "libs/destination/catalogue_functions.h"
#include "libs/event_log/local/local_log.h"
#include "libs/pipeline/topology.h"
#include "libs/warehouses/registry.h"
#include "millrace/accounting/v1/accounting.pb.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "services/warehouse-loader/warehouse_loader.h"

namespace millrace::warehouse_loader {
namespace {

constexpr const char* kSchema = "loader_test";
constexpr const char* kTopic = "destination.d";
std::string self;  // path of this program

const char* Conninfo() {
  return std::getenv("MILLRACE_TEST_POSTGRES");
}

std::string Ask(const std::string& sql) {
  PGconn* connection = PQconnectdb(Conninfo());
  PGresult* result = PQexec(connection, sql.c_str());
  std::string text;
  if (PQresultStatus(result) == PGRES_FATAL_ERROR) text = PQresultErrorMessage(result);
  for (int i = 0; i < PQntuples(result); ++i) {
    for (int j = 0; j < PQnfields(result); ++j) {
      text += (j > 0 ? "|" : "") + std::string(PQgetvalue(result, i, j));
    }
    text += ";";
  }
  PQclear(result);
  PQfinish(connection);
  return text;
}

std::string ConfigJson(const std::string& host_override = "") {
  std::string json = fmt::format(R"({{"namespace":"{}","sslMode":"disable")", kSchema);
  PQconninfoOption* parsed = PQconninfoParse(Conninfo(), nullptr);
  for (PQconninfoOption* option = parsed; option->keyword != nullptr; ++option) {
    const std::string_view key = option->keyword;
    if (option->val == nullptr ||
        (key != "host" && key != "port" && key != "dbname" && key != "user" && key != "password")) {
      continue;
    }
    const bool host = key == "host" && !host_override.empty();
    json += fmt::format(R"(,"{}":"{}")", key == "dbname" ? "database" : key,
                        host ? host_override : option->val);
  }
  PQconninfoFree(parsed);
  return json + "}";
}

config::WorkspacePtr Workspace(const std::string& config_json) {
  auto workspace = std::make_shared<config::v1::Workspace>();
  workspace->set_id("w");
  auto& source = *workspace->add_sources();
  source.set_id("s");
  source.set_type("HTTP");
  auto& destination = *workspace->add_destinations();
  destination.set_id("d");
  destination.set_type("POSTGRES");
  destination.set_enabled(true);
  destination.set_config_json(config_json);
  return workspace;
}

std::unique_ptr<event_log::EventLog> OpenLog(const std::string& folder) {
  auto log = event_log::OpenLocalLog({.path = folder});
  INFO(Message(log.status()));
  REQUIRE(log.ok());
  REQUIRE(pipeline::EnsureShared(**log, {}).ok());
  return *std::move(log);
}

struct Event {
  std::string user;
  std::string message_id;
  std::string json;
};

void Append(event_log::EventLog& log, const std::vector<Event>& events, int64_t received_us) {
  REQUIRE(log.EnsureTopic(kTopic, {.partitions = 3}).ok());
  std::vector<std::string> metas;
  for (const Event& event : events) {
    delivery::v1::DeliveryMeta meta;
    meta.set_workspace_id("w");
    meta.set_source_id("s");
    meta.set_destination_id("d");
    meta.set_message_id(event.message_id);
    meta.set_received_at_us(received_us++);
    metas.push_back(meta.SerializeAsString());
  }
  const auto appender = *log.NewAppender();
  for (size_t begin = 0; begin < events.size(); begin += 1000) {
    std::vector<event_log::TopicRecord> records;
    for (size_t i = begin; i < std::min(begin + 1000, events.size()); ++i) {
      records.push_back(
          {kTopic, {.key = events[i].user, .meta = metas[i], .value = events[i].json}});
    }
    std::promise<Status> done;
    appender->Append(records, [&done](Status status) { done.set_value(std::move(status)); });
    REQUIRE(done.get_future().get().ok());
  }
}

bool AllCommitted(event_log::EventLog& log) {
  const auto committed = log.Committed("warehouse-loader", kTopic);
  const auto infos = log.Describe(kTopic);
  if (!committed.ok() || !infos.ok()) return false;
  for (const auto& info : *infos) {
    int64_t offset = -1;
    for (const auto& entry : *committed) {
      if (entry.partition.partition == info.partition) offset = entry.offset;
    }
    if (info.end_offset > info.begin_offset && offset < info.end_offset) return false;
  }
  return true;
}

/// Runs a loader until the group has committed the whole topic.
void RunLoader(event_log::EventLog& log, const std::string& config_json, uint32_t max_events,
               const std::function<bool()>& done) {
  config::LocalSource workspace;
  workspace.Set(Workspace(config_json));
  telemetry::Metrics metrics;
  const auto warehouses = warehouses::All(
      *http::OutboundGuard::Create({"127.0.0.0/8", "::1/128", "unix:/var/run/postgresql"}));
  const auto catalogue = destination::Catalogue::Builtin();
  settings::v1::WarehouseLoaderSettings settings;
  settings.set_sync_interval_ms(20);
  settings.set_max_load_events(max_events);
  settings.set_retry_initial_ms(50);
  settings.set_retry_max_ms(100);
  auto loader =
      WarehouseLoader::Create(settings, {.log = log,
                                         .clock = SystemClock(),
                                         .metrics = metrics,
                                         .workspace = workspace,
                                         .warehouses = warehouses,
                                         .read_config = destination::ConfigsOf(catalogue)});
  REQUIRE(loader.ok());
  REQUIRE((*loader)->Start().ok());
  while (!done()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  (*loader)->Stop(std::chrono::milliseconds(1000));
}

void RunLoader(event_log::EventLog& log, uint32_t max_events = 50'000) {
  RunLoader(log, ConfigJson(), max_events, [&log] { return AllCommitted(log); });
}

/// The counts by fate as the accounting's reader sees them, and the ids of dead letters.
std::map<std::string, int64_t> ReadCounts(event_log::EventLog& log) {
  std::map<std::string, int64_t> counts;
  std::map<std::pair<std::string, int>, int64_t> seen;
  std::set<std::string> letters;
  const auto consumer = *log.NewConsumer({});
  const std::vector<event_log::CommittedOffset> positions = {
      {{std::string(event_log::kCountersTopic), 0}, -1, {}},
      {{std::string(event_log::kDeadLetterTopic), 0}, -1, {}}};
  REQUIRE(consumer->Assign(positions).ok());
  while (true) {
    const auto batch = consumer->Poll({.timeout = std::chrono::milliseconds(200)});
    REQUIRE(batch.ok());
    if (batch->records.empty()) break;
    for (const auto& record : batch->records) {
      const std::string value(record.value);
      if (batch->source_of(record).topic == event_log::kDeadLetterTopic) {
        delivery::v1::DeadLetter letter;
        REQUIRE(letter.ParseFromString(value));
        letters.insert(letter.id());
        continue;
      }
      accounting::v1::Counters counters;
      REQUIRE(counters.ParseFromString(value));
      auto& last = seen.try_emplace({counters.topic(), counters.partition()}, -1).first->second;
      if (counters.last_offset() <= last) continue;
      last = counters.last_offset();
      for (const auto& count : counters.counts()) {
        counts[accounting::v1::Fate_Name(count.fate())] += count.count();
      }
    }
  }
  counts["letters"] = static_cast<int64_t>(letters.size());
  return counts;
}

/// A folder for the log, and an empty schema.
struct Fixture {
  Fixture() {
    Ask(fmt::format("DROP SCHEMA IF EXISTS {} CASCADE", kSchema));
    char name[] = "/tmp/millrace-loader-XXXXXX";
    folder = mkdtemp(name);
  }
  ~Fixture() { std::filesystem::remove_all(folder); }
  std::string folder;
};

Event Track(int number) {
  const std::string id = fmt::format("m{}", number);
  return {fmt::format("u{}", number % 50), id,
          fmt::format(R"({{"type":"track","event":"Kind {}","messageId":"{}","userId":"u{}",)"
                      R"("properties":{{"n":{},"p{}":"v"}}}})",
                      number % 5, id, number % 50, number, number % 7)};
}

TEST_CASE_METHOD(Fixture, "killed at every failpoint, the rows equal the reference") {
  constexpr int kEvents = 3000;
  {
    const auto log = OpenLog(folder);
    std::vector<Event> events;
    for (int i = 0; i < kEvents; ++i) {
      events.push_back(Track(i));
      if (i % 20 == 0) events.push_back(events.back());  // 5 % twice
      if (i % 300 == 0) {
        events.push_back({"u", fmt::format("i{}", i),
                          fmt::format(R"({{"type":"identify","messageId":"i{0}","userId":"u",)"
                                      R"("traits":{{"age":{0}}}}})",
                                      i)});
        events.push_back({"u", fmt::format("bad{}", i), "[\"no event\"]"});
      }
    }
    Append(*log, events, 1'767'225'600'000'000);
  }
  int kills = 0;
  for (int round = 0; round < 60; ++round) {
    const char* points[] = {"loader.before_commit", "loader.after_commit", "loader.before_offsets"};
    const std::string failpoint =
        round == 59 ? "" : fmt::format("{}:{}:kill", points[round % 3], 1 + round / 3 % 3);
    const pid_t child = fork();
    if (child == 0) {
      setenv("MILLRACE_FAILPOINT", failpoint.c_str(), 1);
      setenv("MILLRACE_TEST_FOLDER", folder.c_str(), 1);
      execl(self.c_str(), self.c_str(), "[.child]", nullptr);
      _exit(127);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status)) {
      REQUIRE(WEXITSTATUS(status) == 0);
      break;
    }
    REQUIRE(WTERMSIG(status) == SIGKILL);
    ++kills;
  }
  CHECK(kills >= 9);
  CHECK(Ask("SELECT count(*), count(DISTINCT id), sum(substr(id, 2)::int) "
            "FROM loader_test.tracks") ==
        fmt::format("{0}|{0}|{1};", kEvents, kEvents * (kEvents - 1) / 2));
  for (int kind = 0; kind < 5; ++kind) {
    CHECK(Ask(fmt::format("SELECT count(*), count(DISTINCT id), bool_and(n = substr(id, 2)::int), "
                          "count(p0) + count(p1) + count(p2) + count(p3) + count(p4) + count(p5) + "
                          "count(p6) FROM loader_test.kind_{}",
                          kind)) == fmt::format("{0}|{0}|t|{0};", kEvents / 5));
  }
  CHECK(Ask("SELECT id, age FROM loader_test.users") == "u|2700;");
  CHECK(Ask("SELECT count(*), count(DISTINCT id) FROM loader_test.identifies") == "10|10;");
  CHECK(Ask("SELECT sum(events) FROM loader_test.millrace_loads") == "3170;");
  const auto log = OpenLog(folder);
  const auto counts = ReadCounts(*log);
  CHECK(counts.at("DELIVERED") == 3160);
  CHECK(counts.at("DEAD_LETTERED") == 10);
  CHECK(counts.at("letters") == 10);
}

TEST_CASE_METHOD(Fixture, "tables widen as events come, whoever else changes them") {
  const auto log = OpenLog(folder);
  Append(*log, {{"u", "1", R"({"type":"track","event":"e","messageId":"1","properties":{"a":1}})"}},
         1);
  RunLoader(*log);
  Ask("ALTER TABLE loader_test.e ADD COLUMN b bigint, DROP COLUMN a");
  Append(
      *log,
      {{"u", "2", R"({"type":"track","event":"e","messageId":"2","properties":{"a":"x","b":2}})"},
       {"u", "3",
        R"({"type":"track","event":"e","messageId":"3","properties":{"a":"y","b":"z"}})"}},
      2);
  RunLoader(*log);
  CHECK(Ask("SELECT id, a, b FROM loader_test.e ORDER BY id") == "1||;2|x|2;3|y|;");
  CHECK(Ask("SELECT row_id, column_name, column_value FROM loader_test.rudder_discards") ==
        "3|b|z;");
}

TEST_CASE_METHOD(Fixture, "a warehouse that was away gets everything when it is back") {
  const auto log = OpenLog(folder);
  std::vector<Event> events;
  for (int i = 0; i < 100; ++i) events.push_back(Track(i));
  Append(*log, events, 1);
  // Connections end while loads go on.
  std::atomic<bool> cutting = true;
  std::thread cutter([&cutting] {
    while (cutting) {
      Ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
          "WHERE application_name = 'millrace-warehouse-loader'");
    }
  });
  int rounds = 0;
  RunLoader(*log, ConfigJson(), 10, [&] {
    if (++rounds == 40) cutting = false;
    return !cutting && AllCommitted(*log);
  });
  cutter.join();
  CHECK(Ask("SELECT count(*), count(DISTINCT id) FROM loader_test.tracks") == "100|100;");
  CHECK(ReadCounts(*log).at("DELIVERED") == 100);
}

TEST_CASE_METHOD(Fixture, "our CPU time per row", "[.benchmark]") {
  const auto log = OpenLog(folder);
  std::vector<Event> events;
  for (int i = 0; i < 100'000; ++i) {
    const std::string id = fmt::format("018e5c2a-7d7e-7b3c-9a10-{:012}", i);
    events.push_back(
        {fmt::format("u{}", i % 1000), id,
         fmt::format(
             R"({{"type":"track","event":"Order Completed","messageId":"{}","userId":"u{}",)"
             R"("anonymousId":"9bb5d4c2-a7aa-4a36-9efb-dd2b1aec5d33","channel":"server",)"
             R"("context":{{"ip":"10.1.2.3","app":{{"name":"shop","version":"1.2.3"}},"library":)"
             R"({{"name":"sdk","version":"2.0.0"}},"locale":"en-GB","screen":{{"density":2,"width":1920}}}},)"
             R"("properties":{{"order_id":"o-{}","total":{}.5,"currency":"EUR","coupon":"none",)"
             R"("items":3,"gift":false}},"timestamp":"2026-01-02T03:04:05.678Z",)"
             R"("sentAt":"2026-01-02T03:04:05.678Z","receivedAt":"2026-01-02T03:04:05.700Z",)"
             R"("originalTimestamp":"2026-01-02T03:04:05.678Z","request_ip":"10.1.2.3"}})",
             id, i % 1000, i, i)});
  }
  Append(*log, events, 1);
  const auto cpu = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  };
  const double before = cpu();
  const auto start = std::chrono::steady_clock::now();
  RunLoader(*log);
  const double wall =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::cout << fmt::format("{:.2f} us CPU a row, {:.0f} rows/s\n", (cpu() - before) / 200'000,
                           200'000 / wall);
  CHECK(Ask("SELECT count(*) FROM loader_test.tracks") == "100000;");
}

TEST_CASE("the process that is killed", "[.child]") {
  REQUIRE(ArmFailpoints(std::getenv("MILLRACE_FAILPOINT")).ok());
  const auto log = OpenLog(std::getenv("MILLRACE_TEST_FOLDER"));
  RunLoader(*log, 100);
}

}  // namespace
}  // namespace millrace::warehouse_loader

int main(int argc, char** argv) {
  using namespace millrace::warehouse_loader;
  if (Conninfo() == nullptr) {
    std::cout << "skipped: MILLRACE_TEST_POSTGRES is not set (a libpq conninfo)\n";
    return 0;
  }
  self = std::filesystem::canonical("/proc/self/exe");
  return Catch::Session().run(argc, argv);
}
