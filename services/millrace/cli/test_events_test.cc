#include "services/millrace/cli/test_events.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <set>

namespace millrace::cli {

TEST_CASE("test events come in batches, each with its own id", "[cli]") {
  FakeClock clock;
  const auto bodies =
      MakeBatches({.name = "Order", .properties = R"({"revenue": 5})", .count = 201}, clock);
  REQUIRE(bodies.ok());
  REQUIRE(bodies->size() == 3);
  std::set<std::string> ids;
  for (const std::string& body : *bodies) {
    for (const auto& event : nlohmann::json::parse(body)["batch"]) {
      ids.insert(event["messageId"].get<std::string>());
      CHECK(event["event"] == "Order");
      CHECK(event["properties"]["revenue"] == 5);
    }
  }
  CHECK(ids.size() == 201);
}

TEST_CASE("what cannot be sent is named by its option", "[cli]") {
  struct Case {
    TestEvents wanted;
    std::string option;
  };
  const auto c = GENERATE(values<Case>({{{.type = "dance"}, "--type"},
                                        {{.count = 0}, "--count"},
                                        {{.user = ""}, "--user"},
                                        {{.properties = "[1"}, "--properties"}}));
  FakeClock clock;
  const auto bodies = MakeBatches(c.wanted, clock);
  CHECK(bodies.status().code() == StatusCode::kInvalidArgument);
  CHECK(Message(bodies.status()).find(c.option) != std::string_view::npos);
}

}  // namespace millrace::cli
