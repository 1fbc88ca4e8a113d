#include "services/processor/routing_keys.h"

#include <catch2/catch.hpp>

namespace millrace::processor {
namespace {

using Keys = std::vector<std::string>;
const Keys kKeys = {"header", "fullPath"};

TEST_CASE("what a transformation set is a change", "[routing_keys]") {
  struct Case {
    const char* accepted;
    const char* event;
    Keys changed;
  };
  const auto c = GENERATE(values<Case>({
      {R"({"a":1})", R"({"a":1,"fullPath":"https://x"})", {"fullPath"}},
      {R"({"fullPath":"https://evil"})", R"({"fullPath":"https://x"})", {"fullPath"}},
      {R"({"header":{"a":"1"}})", R"({"header":{"a":"1","b":"2"}})", {"header"}},
      {R"({"header":{"a":"1","b":"2"}})", R"({"header":{"a":"1"}})", {"header"}},
      {R"({"header":[1,2]})", R"({"header":[1,3]})", {"header"}},
      {R"({"header":1,"fullPath":2})", R"({"fullPath":"2","header":"1"})", {"header", "fullPath"}},
      {R"({"header":"x","header":"y"})", R"({"header":"x"})", {"header"}},
      {R"({"a":{"fullPath":"https://x"}})", R"({"fullPath":"https://x"})", {"fullPath"}},
      {R"({})", R"({"full\u0050ath":"https://x"})", {"fullPath"}},
  }));
  CAPTURE(c.accepted, c.event);
  CHECK(ChangedKeys(c.accepted, c.event, kKeys) == c.changed);
}

TEST_CASE("what came from outside is no change, however it is spelt", "[routing_keys]") {
  struct Case {
    std::string accepted;
    std::string event;
  };
  const std::string deep(200, '[');
  const std::string shut(200, ']');
  const auto c = GENERATE_COPY(values<Case>({
      {R"({"fullPath":"https://evil"})", R"({"fullPath":"https://evil"})"},
      {R"({"fullPath":"https://evil"})", R"({"x":1})"},
      {R"({ "fullPath" : "https://evil" })", R"({"fullPath":"https://evil","added":1})"},
      {R"({"fullPath":"https:\/\/e\u0076il"})", R"({"fullPath":"https://evil"})"},
      {R"({"full\u0050ath":"https://evil"})", R"({"fullPath":"https://evil"})"},
      {R"({"fullPath":"x","fullPath":"https://evil"})", R"({"fullPath":"https://evil"})"},
      {R"({"header":{"a":"1","b":"2"}})", R"({"header":{"b":"2","a":"1"}})"},
      {R"({"header":{"a":"x","a":"1"}})", R"({"header":{"a":"1"}})"},
      {R"({"header":{"a":1.0,"b":1e2}})", R"({"header":{"a":1,"b":100}})"},
      {R"({"header":{"a":12345678901234567890}})", R"({"header":{"a":12345678901234567000}})"},
      {R"({"header":{"a":9007199254740993}})", R"({"header":{"a":9007199254740992}})"},
      {R"({"header":{"a":-0.0}})", R"({"header":{"a":0}})"},
      // What JavaScript cannot hold becomes something else by being read and written.
      {R"({"header":{"a":"evil","b":1e400}})", R"({"header":{"a":"evil","b":null}})"},
      {R"({"fullPath":"https://evil/\ud800"})", R"({"fullPath":"https://evil/)"
                                                "\xEF\xBF\xBD"
                                                R"("})"},
      {"{\"header\":" + deep + "1" + shut + "}", "{\"header\":" + deep + "2" + shut + "}"},
  }));
  CAPTURE(c.accepted, c.event);
  CHECK(ChangedKeys(c.accepted, c.event, kKeys).empty());
}

}  // namespace
}  // namespace millrace::processor
