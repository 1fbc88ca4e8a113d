#include "libs/destination/definition.h"

#include <catch2/catch.hpp>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace millrace::destination {
namespace {

/// The message of reading a definition `text` in a folder acme; "" when it is good.
std::string Read(const std::string& text) {
  char name[] = "/tmp/millrace-definition-XXXXXX";
  REQUIRE(mkdtemp(name) != nullptr);
  const std::string folder = std::string(name) + "/acme";
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/definition.yaml") << text;
  const auto definition = ReadDefinition(folder);
  std::filesystem::remove_all(name);
  return std::string(Message(definition.status()));
}

const std::string kGood = "id: acme\ndisplay_name: Acme\ncategory: test\n";

TEST_CASE("a definition names the field that is wrong") {
  struct Case {
    const char* more;
    const char* message;  // "" = good
  };
  const auto c = GENERATE(values<Case>({
      {"", ""},
      {"fields: [{name: k, doc: d}]", ""},
      {"fields: [{name: k}]", "acme/definition.yaml: fields[0].doc: is missing ('k')"},
      {"fields: [{name: k, doc: d}, {name: k, doc: d}]", "fields[1].name: 'k' stands twice"},
      {"fields: [{name: k, doc: d, kind: ENUM}]", "fields[0].options: belong to kind ENUM"},
      {"fields: [{name: k, doc: d, minimum: 1}]", "fields[0].minimum: belongs to kind NUMBER"},
      {"fields: [{name: k, doc: d, kind: NUMBER, default_json: '\"5\"'}]",
       "fields[0].default_json: must be a number, as JSON ('k')"},
      {"fields: [{name: k, doc: d, kind: NUMBER, default_json: '5', minimum: 6}]",
       "fields[0].default_json: must be a number from 6"},
  }));
  CAPTURE(c.more);
  const std::string message = Read(kGood + c.more);
  if (*c.message == '\0') {
    CHECK(message.empty());
  } else {
    CHECK_THAT(message, Catch::Contains(c.message));
  }
}

TEST_CASE("a definition that asks for what nothing does when events are delivered is refused") {
  struct Case {
    const char* more;
    const char* message;  // "" = good
  };
  const auto c = GENERATE(values<Case>({
      {"limits: {concurrent_requests: 2}", ""},
      {"unordered: true", ""},
      {"batching: {max_events: 10}", "acme/definition.yaml: batching: nothing reads it"},
      {"batching: {}", "batching: nothing reads it"},
      {"kind: WAREHOUSE\nlimits: {requests_per_second: 2}", "limits: nothing reads it"},
      {"kind: WAREHOUSE\njudging: {retried: [404]}", "judging: nothing reads it"},
      {"kind: WAREHOUSE\nunordered: true", "unordered: nothing reads it"},
      {"kind: WAREHOUSE\nidempotency_header: X", "idempotency_header: nothing reads it"},
  }));
  CAPTURE(c.more);
  const std::string message = Read(kGood + c.more);
  if (*c.message == '\0') {
    CHECK(message.empty());
  } else {
    CHECK_THAT(message, Catch::Contains(c.message));
  }
}

}  // namespace
}  // namespace millrace::destination
