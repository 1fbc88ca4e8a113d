#include "libs/config/json_text.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace millrace::config {
namespace {

TEST_CASE("what is no JSON is told with line and column") {
  CHECK(ParseJsonText(R"({"a": [1, 2]})")->at("a").size() == 2);
  struct Case {
    const char* text;
    const char* told;
  };
  const auto c = GENERATE(values<Case>({
      {"", "not JSON: line 1, column 1: "},
      {"{\n  \"a\": 1,\n}", "not JSON: line 3, column 1: "},
      {"{'a': 1}", "not JSON: line 1, column 2: "},
      {"[1] 2", "not JSON: line 1, column 5: "},
      {R"({"a": "\ud800"})", "not JSON: line 1, column 14: "},
      {R"({"a": 1e999})", "not JSON: number overflow parsing '1e999'"},
  }));
  CAPTURE(c.text);
  const auto parsed = ParseJsonText(c.text);
  REQUIRE(parsed.status().code() == StatusCode::kInvalidArgument);
  CHECK_THAT(std::string(Message(parsed.status())), Catch::StartsWith(c.told));
}

}  // namespace
}  // namespace millrace::config
