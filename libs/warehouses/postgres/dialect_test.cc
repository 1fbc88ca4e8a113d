#include "libs/warehouses/postgres/dialect.h"

#include <catch2/catch.hpp>

#include "libs/warehouses/postgres/postgres.h"

namespace millrace::warehouses::postgres {
namespace {

using warehouse::DataType;
using warehouse::SchemaChange;

TEST_CASE("DDL of PostgreSQL", "[postgres]") {
  struct Case {
    const char* name;
    SchemaChange change;
    std::vector<std::string> sql;
  };
  const auto c = GENERATE(values<Case>({
      {"a new table is indexed by id",
       {"orders", true, {{"id", DataType::kString}, {"total", DataType::kFloat}}},
       {R"(CREATE TABLE "s"."orders" ("id" text, "total" numeric))",
        R"(CREATE INDEX ON "s"."orders" (id))"}},
      {"columns are added in one statement",
       {"orders", false, {{"n", DataType::kInt}, {"at", DataType::kDatetime}}},
       {R"(ALTER TABLE "s"."orders" ADD COLUMN "n" bigint, ADD COLUMN "at" timestamptz)"}},
      {"names are quoted",
       {"a\"; DROP TABLE b; --", true, {{"x\"y", DataType::kJson}}},
       {R"(CREATE TABLE "s"."a""; DROP TABLE b; --" ("x""y" jsonb))"}},
  }));
  CAPTURE(c.name);
  CHECK(PostgresDialect().Ddl("s", c.change) == c.sql);
}

TEST_CASE("types go to SQL and back", "[postgres]") {
  const PostgresDialect dialect;
  CHECK(dialect.ParseType("bigint") == DataType::kInt);
  CHECK(dialect.ParseType("timestamp with time zone") == DataType::kDatetime);
  CHECK(dialect.ParseType("character varying") == DataType::kString);
  for (const char* limited : {"integer", "character varying(20)", "numeric(10,2)", "uuid"}) {
    CHECK(dialect.ParseType(limited) == DataType::kUnsupported);
  }
  CHECK(dialect.Names().reserved("user"));
  CHECK_FALSE(dialect.Names().reserved("users"));
}

TEST_CASE("the configuration is checked", "[postgres]") {
  const auto good =
      ParseConfig(R"({"host":"h","port":5433,"database":"d","user":"u","password":"p"})");
  REQUIRE(good.ok());
  CHECK(good->port == "5433");
  CHECK(good->name_space == "millrace");
  CHECK(Message(ParseConfig(R"({"host":"h","database":"d"})").status()) ==
        "the configuration has no `user`");
  CHECK_FALSE(ParseConfig(R"({"host":"h","database":"d","user":"u","sslMode":"maybe"})").ok());
  CHECK_FALSE(ParseConfig("[]").ok());
}

}  // namespace
}  // namespace millrace::warehouses::postgres
