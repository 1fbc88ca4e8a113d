#include "services/warehouse-loader/destination_config.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "libs/destination/catalogue.h"
#include "libs/warehouse/dialect.h"

namespace millrace::warehouse_loader {
namespace {

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

/// The configuration of a PostgreSQL destination with the members of `json` in it.
StatusOr<DestinationConfig> Read(nlohmann::json json) {
  static const destination::Catalogue catalogue = destination::Catalogue::Builtin();
  json.update({{"host", "h"}, {"database", "d"}, {"user", "u"}});
  config::v1::Destination destination;
  destination.set_type("POSTGRES");
  destination.set_config_json(json.dump());
  MR_ASSIGN_OR_RETURN(auto config,
                      destination::NormaliseConfig(catalogue.Find(destination.type())->definition,
                                                   destination.config_json()));
  return ReadDestinationConfig(destination, std::move(config), PlainDialect(),
                               std::chrono::milliseconds(1000));
}

TEST_CASE("the interval between loads", "[config]") {
  struct Case {
    const char* config;
    int64_t milliseconds;  // -1: refused
  };
  const auto c = GENERATE(values<Case>({
      {"{}", 1000},
      {R"({"syncIntervalSeconds":5})", 5000},
      {R"({"syncIntervalSeconds":"5","syncFrequency":"30"})", 5000},
      {R"({"syncFrequency":"30"})", 1'800'000},
      {R"({"syncFrequency":""})", 1000},
      {R"({"syncFrequency":"often"})", -1},
      {R"({"syncIntervalSeconds":0})", -1},
      {R"({"syncIntervalSeconds":604801})", -1},
  }));
  CAPTURE(c.config);
  const auto config = Read(nlohmann::json::parse(c.config));
  REQUIRE(config.ok() == (c.milliseconds >= 0));
  if (config.ok()) CHECK(config->sync_interval.count() == c.milliseconds);
}

TEST_CASE("a flag given as text counts like one given as a boolean", "[config]") {
  struct Case {
    const char* value;
    bool on;
  };
  const auto c = GENERATE(values<Case>({{"true", true},
                                        {"\"true\"", true},
                                        {"false", false},
                                        {"\"false\"", false},
                                        {"null", false}}));
  CAPTURE(c.value);
  nlohmann::json json;
  for (const char* key : {"skipTracksTable", "skipUsersTable", "allowUsersContextTraits",
                          "underscoreDivideNumbers", "storeFullEvent"}) {
    json[key] = nlohmann::json::parse(c.value);
  }
  const auto config = Read(json);
  REQUIRE(config.ok());
  CHECK(config->rows.skip_tracks_table == c.on);
  CHECK(config->rows.skip_users_table == c.on);
  CHECK(config->rows.users_context_traits == c.on);
  CHECK(config->rows.names.divide_numbers == c.on);
  CHECK(config->rows.store_full_event == c.on);
}

TEST_CASE("JSON paths are a list or text with commas", "[config]") {
  const auto paths = GENERATE(values<nlohmann::json>(
      {" track.properties.a ,b", nlohmann::json::array({"track.properties.a", " b "})}));
  const auto config = Read({{"jsonPaths", paths}});
  REQUIRE(config.ok());
  CHECK(config->rows.json_paths == std::vector<std::string>{"track.properties.a", "b"});
}

}  // namespace
}  // namespace millrace::warehouse_loader
