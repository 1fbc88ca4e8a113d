#include "services/warehouse-loader/destination_config.h"

#include <catch2/catch.hpp>

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
      {"[]", -1},
  }));
  CAPTURE(c.config);
  config::v1::Destination destination;
  destination.set_config_json(c.config);
  const auto config =
      ParseDestinationConfig(destination, PlainDialect(), std::chrono::milliseconds(1000));
  REQUIRE(config.ok() == (c.milliseconds >= 0));
  if (config.ok()) CHECK(config->sync_interval.count() == c.milliseconds);
}

TEST_CASE("JSON paths are a list or text with commas", "[config]") {
  config::v1::Destination destination;
  destination.set_config_json(R"({"jsonPaths":" track.properties.a ,b","storeFullEvent":true})");
  const auto config =
      ParseDestinationConfig(destination, PlainDialect(), std::chrono::milliseconds(1000));
  REQUIRE(config.ok());
  CHECK(config->rows.json_paths == std::vector<std::string>{"track.properties.a", "b"});
  CHECK(config->rows.store_full_event);
}

}  // namespace
}  // namespace millrace::warehouse_loader
