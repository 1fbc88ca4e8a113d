#include "services/millrace/cli/transform_fixture.h"

#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>

#include "libs/base/file.h"

namespace millrace::cli {
namespace {

using transformation::Output;

/// A file in a folder of its own, gone with it.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) {
    char folder[] = "/tmp/millrace-fixture.XXXXXX";
    REQUIRE(mkdtemp(folder) != nullptr);
    folder_ = folder;
    REQUIRE(WriteFileAtomically(path(), text, 0600).ok());
  }
  ~TemporaryFile() { std::filesystem::remove_all(folder_); }
  std::string path() const { return folder_ + "/case.json"; }

 private:
  std::string folder_;
};

std::string ReadError(const std::string& text) {
  const TemporaryFile file(text);
  const auto fixtures = ReadFixtures(file.path());
  if (fixtures.ok()) return "";
  const std::string message(Message(fixtures.status()));
  return message.substr(message.find("case.json") + 9);
}

Fixture ReadOne(const std::string& text) {
  const TemporaryFile file(text);
  auto fixtures = ReadFixtures(file.path());
  REQUIRE(fixtures.ok());
  REQUIRE(fixtures->size() == 1);
  return fixtures->front();
}

TEST_CASE("a fixture that is none is told why", "[cli]") {
  struct Case {
    const char* text;
    const char* error;
  };
  const auto c = GENERATE(values<Case>({
      {R"({"event":{},"expect":{"events":[]}})", ""},
      {R"([{"event":{},"expect":{"dropped":true}},{"events":[{}],"expect":{"error":"x"}}])", ""},
      {"{",
       " is not JSON: line 1, column 2: syntax error while parsing object key - unexpected end of "
       "input; expected string literal"},
      {"5", ": a fixture must be an object"},
      {R"({"expect":{"events":[]}})", ": there is no 'event' and no 'events'"},
      {R"({"event":{}})", ": there is no 'expect'"},
      {R"({"event":{},"expect":{}})", ": 'expect' is empty; give events, dropped or error"},
      {R"({"event":{},"expect":{"dropped":true,"events":[]}})",
       ": 'expect' has both events and dropped"},
      {R"({"event":{},"expect":{"event":{}}})",
       ": 'expect.event' is not understood; there are events (array), dropped (true) and error "
       "(text)"},
      {R"({"events":[5],"expect":{"dropped":true}})", ": 'events' must hold objects"},
      {R"({"event":{},"now":"noon","expect":{"dropped":true}})",
       ": 'now' must be a time such as 2026-01-31T12:00:00Z"},
      {R"([{"event":{},"expect":{"dropped":true}},{"evnt":{},"expect":{"error":"x"}}])",
       ", fixture 2: 'evnt' is not understood; a fixture has name, event or events, metadata, "
       "fetches, "
       "geolocation, now, expect and log"},
  }));
  CAPTURE(c.text);
  CHECK(ReadError(c.text) == c.error);
}

TEST_CASE("outputs are judged", "[cli]") {
  struct Case {
    const char* name;
    const char* expect;  // and log
    std::vector<std::string> events;
    const char* error;
    const char* found;  // part of what is told; empty: it passes
  };
  const auto c = GENERATE(values<Case>({
      {"equal", R"("expect":{"events":[{"b":1,"a":[2]}]})", {R"({"a":[2],"b":1})"}, "", ""},
      {"another value",
       R"("expect":{"events":[{"a":1}]})",
       {R"({"a":2})"},
       "",
       "-     \"a\": 1\n+     \"a\": 2\n"},
      {"one too few",
       R"("expect":{"events":[{"a":1}]})",
       {},
       "",
       "events (- expected, + came out)"},
      {"dropped", R"("expect":{"dropped":true})", {}, "", ""},
      {"not dropped",
       R"("expect":{"dropped":true})",
       {R"({"a":2})"},
       "",
       "expected to be dropped, came out"},
      {"dropped by an error",
       R"("expect":{"dropped":true})",
       {},
       "Error: bad",
       "failed:\n  Error: bad"},
      {"the error", R"("expect":{"error":"bad"})", {}, "Error: bad", ""},
      {"another error",
       R"("expect":{"error":"good"})",
       {},
       "Error: bad",
       "expected an error with 'good', these came"},
      {"no error",
       R"("expect":{"error":"bad"})",
       {R"({"a":2})"},
       "",
       "expected an error with 'bad', none came"},
      {"the log", R"("log":["one","two"],"expect":{"dropped":true})", {}, "", ""},
      {"another log", R"("log":["one"],"expect":{"dropped":true})", {}, "", "+   \"two\"\n"},
  }));
  CAPTURE(c.name);
  const Fixture fixture = ReadOne(std::string(R"({"event":{},)") + c.expect + "}");
  Output output;
  for (const std::string& event : c.events) output.events.emplace_back(event);
  output.error = c.error;
  output.log = {"one", "two"};
  const std::string found = Judge(fixture, {output});
  CHECK(found.empty() == std::string(c.found).empty());
  CAPTURE(found);
  CHECK(found.find(c.found) != std::string::npos);
}

TEST_CASE("only what a fixture lists is fetched", "[cli]") {
  const Fixture fixture = ReadOne(R"({"event":{},"expect":{"dropped":true},"fetches":{
      "https://a.example/": {"country": "NZ"},
      "https://b.example/": {"status": 404, "headers": {"x": "y"}, "body": "none"},
      "https://c.example/": {"error": "timeout"},
      "https://d.example/": "text"}})");
  const auto fetcher = MakeFixtureFetcher(fixture);
  const auto fetch = [&](const std::string& arguments) {
    std::string text;
    fetcher->Fetch(arguments, "", [&](const script::HostAnswer& answer) {
      text = (answer.failed ? "failed: " : "") + answer.text;
    });
    return text;
  };
  CHECK(fetch(R"(["https://a.example/"])") ==
        R"({"body":"{\"country\":\"NZ\"}","headers":{},"status":200,"url":"https://a.example/"})");
  CHECK(fetch(R"(["https://b.example/",{"method":"POST"}])") ==
        R"({"body":"none","headers":{"x":"y"},"status":404,"url":"https://b.example/"})");
  CHECK(fetch(R"(["https://c.example/"])") == "failed: timeout");
  CHECK(fetch(R"(["https://d.example/"])").find(R"("body":"text")") != std::string::npos);
  CHECK(fetch(R"(["https://e.example/"])") ==
        "failed: fetch of https://e.example/: not listed in 'fetches' of this fixture");
  CHECK(fetch("[]") == "failed: fetch url is required");
}

TEST_CASE("LineDiff shows what differs in its place", "[cli]") {
  CHECK(LineDiff("a\nb\nc\n", "a\nx\nc\nd\n") == "  a\n- b\n+ x\n  c\n+ d\n");
  CHECK(LineDiff("", "a") == "+ a\n");
  CHECK(LineDiff("a", "a") == "  a\n");
}

}  // namespace
}  // namespace millrace::cli
