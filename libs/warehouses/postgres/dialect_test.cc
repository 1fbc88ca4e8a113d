#include "libs/warehouses/postgres/dialect.h"

#include <catch2/catch.hpp>

#include "libs/destination/catalogue.h"
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

StatusOr<ConnectOptions> Read(const char* config_json) {
  const destination::Catalogue catalogue = destination::Catalogue::Builtin();
  const auto config =
      destination::NormaliseConfig(catalogue.Find("POSTGRES")->definition, config_json);
  if (!config.ok()) return config.status();
  return OptionsOf(*config);
}

TEST_CASE("the configuration says how to connect", "[postgres]") {
  const auto plain = Read(R"({"host":"h","database":"d","user":"u"})");
  REQUIRE(plain.ok());
  CHECK(plain->port == "5432");
  CHECK(plain->name_space == "millrace");
  CHECK(plain->ssl_mode == "require");
  const char* port = GENERATE(R"("5433")", "5433");
  const auto full = Read((std::string(R"({"host":"h","database":"d","user":"u","password":"p",
      "namespace":"n","sslMode":"verify-ca","serverCA":"ca","port":)") +
                          port + "}")
                             .c_str());
  REQUIRE(full.ok());
  CHECK(full->port == "5433");
  CHECK(full->password == "p");
  CHECK(full->name_space == "n");
  CHECK(full->ssl_mode == "verify-ca");
  CHECK(full->server_ca == "ca");
}

TEST_CASE("a configuration that cannot connect names its key", "[postgres]") {
  struct Case {
    std::string config;
    const char* message;
  };
  const auto c = GENERATE(values<Case>({
      {R"({"host":"h","database":"d"})", "config.user is missing"},
      {R"({"host":"h","database":"d","user":"u","sslMode":"maybe"})", "config.sslMode must be one"},
      {R"({"host":"h","database":"d","user":"u","port":"70000"})", "config.port must be a number"},
      {R"({"host":"h","database":"d","user":"u","namespace":")" + std::string(64, 'n') + "\"}",
       "namespace is longer than 63 bytes"},
  }));
  CAPTURE(c.config);
  const auto read = Read(c.config.c_str());
  REQUIRE(read.status().code() == StatusCode::kInvalidArgument);
  CHECK_THAT(std::string(Message(read.status())), Catch::Contains(c.message));
}

}  // namespace
}  // namespace millrace::warehouses::postgres
