// Against a real server: MILLRACE_TEST_POSTGRES is a libpq conninfo (tests/support/postgres.sh).
#define CATCH_CONFIG_RUNNER
#include "libs/warehouses/postgres/session.h"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <cstdlib>
#include <iostream>

#include "libs/warehouse/batch.h"
#include "libs/warehouse/rows.h"
#include "libs/warehouses/postgres/postgres.h"

namespace millrace::warehouses::postgres {
namespace {

using warehouse::Batch;
using warehouse::LoadOutcome;
using warehouse::LoadResult;

constexpr const char* kSchema = "session_test";

ConnectOptions Options() {
  ConnectOptions options{.ssl_mode = "prefer"};
  PQconninfoOption* parsed = PQconninfoParse(std::getenv("MILLRACE_TEST_POSTGRES"), nullptr);
  for (PQconninfoOption* option = parsed; option->keyword != nullptr; ++option) {
    if (option->val == nullptr) continue;
    const std::string_view key = option->keyword;
    if (key == "host") options.host = option->val;
    if (key == "port") options.port = option->val;
    if (key == "dbname") options.database = option->val;
    if (key == "user") options.user = option->val;
    if (key == "password") options.password = option->val;
  }
  PQconninfoFree(parsed);
  return options;
}

/// The server is this machine's, by an address or a socket.
StatusOr<std::unique_ptr<Connection>> Open(const ConnectOptions& options) {
  MR_ASSIGN_OR_RETURN(const auto guard,
                      http::OutboundGuard::Create(
                          {"127.0.0.0/8", "::1/128", "unix:/var/run/postgresql", "unix:/tmp"}));
  return Connection::Open(options, guard);
}

/// A namespace of its own, empty.
struct Fixture {
  Fixture() : admin(*postgres::Open(Options())) {
    REQUIRE(admin->Run(fmt::format("DROP SCHEMA IF EXISTS {} CASCADE", kSchema)).ok());
    session = Open();
  }
  std::unique_ptr<PostgresSession> Open() {
    auto opened = std::make_unique<PostgresSession>(*postgres::Open(Options()), kSchema);
    REQUIRE(opened->Prepare().ok());
    return opened;
  }
  std::string Ask(const std::string& sql) {
    Rows rows;
    const Failure failure = admin->Query(sql, {}, &rows);
    if (!failure.ok()) return std::string(Message(failure.status));
    std::string text;
    for (const auto& row : rows) {
      for (size_t i = 0; i < row.size(); ++i) text += (i > 0 ? "|" : "") + row[i];
      text += ";";
    }
    return text;
  }
  /// Loads the events as one commit.
  LoadResult Load(const std::vector<std::string>& events, int64_t from, int64_t to,
                  bool careful = false) {
    const auto schema = session->ReadSchema();
    REQUIRE(schema.ok());
    return Load(*schema, events, from, to, careful);
  }
  LoadResult Load(const warehouse::Schema& schema, const std::vector<std::string>& events,
                  int64_t from, int64_t to, bool careful = false) {
    PostgresDialect dialect;
    warehouse::RowBuilder builder({.names = dialect.Names()});
    Batch batch(schema, dialect.MaxColumns(), "2026-01-02T03:04:05.000Z");
    for (const std::string& event : events) {
      const auto built = builder.Build({.json = event, .received_at = "2026-01-02T00:00:00.000Z"});
      REQUIRE(built.error.empty());
      for (const auto& row : built.rows) batch.Add(row, ++clock, "2026-01-02T00:00:00.000Z");
    }
    batch.Finish();
    const auto result = session->Write({.destination_id = "d",
                                        .changes = batch.Changes(),
                                        .tables = batch.Tables(),
                                        .positions = {{{"t", 0, to, "note"}, from, 1}},
                                        .careful = careful});
    INFO(Message(result.status()));
    REQUIRE(result.ok());
    return *result;
  }
  std::unique_ptr<Connection> admin;
  std::unique_ptr<PostgresSession> session;
  int64_t clock = 0;
};

std::string Track(const std::string& id, const std::string& event, const std::string& properties) {
  return fmt::format(R"({{"type":"track","event":"{}","messageId":"{}","properties":{}}})", event,
                     id, properties);
}

TEST_CASE_METHOD(Fixture, "tables are made, widened and loaded; an id that comes again replaces") {
  CHECK(Load({Track("1", "Order", R"({"total":1})")}, -1, 1).outcome == LoadOutcome::kLoaded);
  CHECK(Load({Track("1", "Order", R"({"total":2,"city":"Ulm"})"),
              Track("2", "Order", R"({"total":1.5,"ok":true,"at":"2026-01-02T03:04:05+01:00"})")},
             1, 3)
            .outcome == LoadOutcome::kLoaded);
  CHECK(Ask("SELECT id, total, city, ok, at FROM session_test._order ORDER BY id") ==
        "1|2|Ulm||;2|||t|2026-01-02 02:04:05+00;");
  CHECK(Ask("SELECT table_name, row_id, column_name, column_value FROM "
            "session_test.rudder_discards") == "_order|2|total|1.5;");
  CHECK(Ask("SELECT count(*), count(DISTINCT id) FROM session_test.tracks") == "2|2;");
  CHECK(Ask("SELECT next_offset, events, loads, convert_from(note, 'UTF8') "
            "FROM session_test.millrace_loads") == "3|2|2|note;");
}

TEST_CASE_METHOD(Fixture, "users keep the latest trait of each column over loads") {
  const auto identify = [](const char* at, const char* traits) {
    return fmt::format(R"({{"type":"identify","messageId":"{0}","userId":"u","receivedAt":"{0}",)"
                       R"("traits":{1}}})",
                       at, traits);
  };
  Load({identify("2026-01-02T00:00:02Z", R"({"a":"1","b":"1"})")}, -1, 1);
  Load({identify("2026-01-02T00:00:03Z", R"({"a":"2","c":"2"})")}, 1, 2);
  Load({identify("2026-01-02T00:00:01Z", R"({"a":"0","d":"0"})")}, 2, 3);
  CHECK(Ask("SELECT id, a, b, c, d, received_at FROM session_test.users") ==
        "u|2|1|2|0|2026-01-02 00:00:03+00;");
  CHECK(Ask("SELECT count(*) FROM session_test.identifies") == "3;");
}

TEST_CASE_METHOD(Fixture, "a position that moved stops the load") {
  Load({Track("1", "e", "{}")}, -1, 5);
  CHECK(Load({Track("2", "e", "{}")}, -1, 1).outcome == LoadOutcome::kPositionMoved);
  CHECK(Load({Track("2", "e", "{}")}, 4, 6).outcome == LoadOutcome::kPositionMoved);
  CHECK(Ask("SELECT id FROM session_test.tracks") == "1;");
  const auto positions = Open()->ReadPositions("d");
  REQUIRE(positions.ok());
  CHECK(positions->at(0).next_offset == 5);
  CHECK(positions->at(0).note == "note");
}

TEST_CASE_METHOD(Fixture, "a schema that another changed is noticed, nothing is written") {
  const auto old = session->ReadSchema();
  Load({Track("1", "e", R"({"a":1})")}, -1, 1);
  CHECK(Load(*old, {Track("2", "e", R"({"a":1})")}, 1, 2).outcome == LoadOutcome::kSchemaChanged);
  const auto before = session->ReadSchema();
  REQUIRE(admin->Run("ALTER TABLE session_test.e DROP COLUMN a").ok());
  CHECK(Load(*before, {Track("2", "e", R"({"a":1})")}, 1, 2).outcome ==
        LoadOutcome::kSchemaChanged);
  CHECK(Ask("SELECT id FROM session_test.tracks") == "1;");
  CHECK(Load({Track("2", "e", R"({"a":1})")}, 1, 2).outcome == LoadOutcome::kLoaded);
}

TEST_CASE_METHOD(Fixture, "a row that the server refuses goes to rudder_discards, alone") {
  Load({Track("1", "e", R"({"a":1})")}, -1, 1);
  REQUIRE(admin->Run("ALTER TABLE session_test.e ADD CHECK (a < 100)").ok());
  const std::vector<std::string> events = {Track("2", "e", R"({"a":2})"),
                                           Track("3", "e", R"({"a":500})"),
                                           Track("4", "e", R"({"a":4})")};
  CHECK(Load(events, 1, 4).outcome == LoadOutcome::kSchemaChanged);
  const LoadResult result = Load(events, 1, 4, true);
  CHECK(result.outcome == LoadOutcome::kLoaded);
  CHECK(result.refused_rows == 1);
  CHECK(Ask("SELECT id FROM session_test.e ORDER BY id") == "1;2;4;");
  CHECK(Ask("SELECT table_name, row_id FROM session_test.rudder_discards") == "e|3;");
}

TEST_CASE_METHOD(Fixture, "hostile names and values change no other table") {
  REQUIRE(admin->Run("CREATE TABLE session_test.victim AS SELECT 1 AS a").ok());
  std::vector<std::string> events = {
      Track("1", "x; DROP TABLE victim; --",
            R"({"a'); DROP TABLE victim; --":"'); DROP TABLE victim; --"})"),
      Track("2", R"(\"; DROP TABLE session_test.victim; --)", "{}"),
      Track("3", std::string(64, 'n'),
            fmt::format(R"({{"{}":1,"{}":2}})", std::string(64, 'c'), std::string(63, 'c') + "d")),
      Track("4", "select", R"({"select":1,"SELECT":2,"user":"u","Total":1,"total":2})"),
      Track("5", "🎉", R"({"🎉":1,"":2," ":3})"),
      Track("6", "rudder_discards", R"({"reason":"x"})"),
      Track("7", "millrace_loads", "{}"),
      Track("8", "copy", R"({"v":"\\N","w":"\\.","x":"a\tb\nc\\","y":"\\\\N"})"),
      Track(R"({\"quoted\", \\ id})", "ids", "{}"),
  };
  CHECK(Load(events, -1, 1).outcome == LoadOutcome::kLoaded);
  CHECK(Load(events, 1, 2).outcome == LoadOutcome::kLoaded);
  CHECK(Ask("SELECT a FROM session_test.victim") == "1;");
  CHECK(Ask("SELECT count(*) FROM session_test.tracks") == "9;");
  CHECK(Ask(fmt::format("SELECT {} FROM session_test.{}", std::string(63, 'c'),
                        std::string(63, 'n'))) == "2;");
  CHECK(Ask("SELECT _select, _user, total FROM session_test._select") == "2|u|2;");
  CHECK(Ask("SELECT v, w, x, y FROM session_test.copy") == "\\N|\\.|a\tb\nc\\|\\\\N;");
  CHECK(Ask("SELECT count(*) FROM session_test._rudder_discards") == "1;");
  CHECK(Ask("SELECT count(*) FROM session_test._millrace_loads") == "1;");
  CHECK(Ask("SELECT id FROM session_test.ids") == "{\"quoted\", \\ id};");
}

TEST_CASE("errors name where and what, never the password") {
  ConnectOptions options = Options();
  options.database = "no_such_database";
  options.password = "hunter2hunter2";
  const auto opened = postgres::Open(options);
  REQUIRE_FALSE(opened.ok());
  const std::string message(Message(opened.status()));
  CHECK(message.find("no_such_database") != std::string::npos);
  CHECK(message.find(options.host + ":" + options.port) != std::string::npos);
  CHECK(message.find("hunter2") == std::string::npos);
}

TEST_CASE_METHOD(Fixture, "a missing grant is named") {
  (void)admin->Run("DROP OWNED BY poor");
  (void)admin->Run("DROP ROLE IF EXISTS poor");
  REQUIRE(admin->Run("CREATE ROLE poor LOGIN PASSWORD 'x'").ok());
  ConnectOptions options = Options();
  options.user = "poor";
  PostgresSession poor(*postgres::Open(options), "not_mine");
  const std::string message(Message(poor.Prepare()));
  CHECK(message.find("schema not_mine") != std::string::npos);
  CHECK(message.find("permission denied for database") != std::string::npos);
}

}  // namespace
}  // namespace millrace::warehouses::postgres

int main(int argc, char** argv) {
  if (std::getenv("MILLRACE_TEST_POSTGRES") == nullptr) {
    std::cout << "skipped: MILLRACE_TEST_POSTGRES is not set (a libpq conninfo)\n";
    return 0;
  }
  return Catch::Session().run(argc, argv);
}
