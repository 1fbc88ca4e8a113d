#include "libs/destination/script_mapper.h"

#include <catch2/catch.hpp>

#include <future>

#include "libs/script/testing.h"

namespace millrace::destination {
namespace {

std::vector<MapResult> Map(Mapper& mapper, const std::vector<std::string>& events) {
  std::vector<MapInput> inputs;
  for (const std::string& event : events)
    inputs.push_back({.event = Bytes(event), .uuid_seed = "m1"});
  std::promise<std::vector<MapResult>> promise;
  mapper.Map(std::move(inputs),
             [&](std::vector<MapResult> results) { promise.set_value(std::move(results)); });
  return promise.get_future().get();
}

TEST_CASE("a batch of events becomes requests, declined events and errors") {
  auto pool = script::WorkerPool::Start({});
  REQUIRE(pool.ok());
  v1::Definition definition;
  definition.set_id("test");
  definition.mutable_limits()->set_timeout_ms(1234);
  definition.add_fields()->set_name("url");
  const auto config = NormaliseConfig(definition, R"({"url":"https://a.example/"})");
  REQUIRE(config.ok());
  auto mapper = MakeMapper(definition,
                           "export function map(event, config, context) {"
                           "  if (event.bad) throw new Error('bad event');"
                           "  if (event.skip) return null;"
                           "  if (event.wrong) return {};"
                           "  const one = {url: config.url, body: context.raw};"
                           "  return event.twice ? [one, {...one, method: 'PUT'}] : one; }",
                           *config, **pool);
  INFO(Message(mapper.status()));
  REQUIRE(mapper.ok());
  const auto results = Map(**mapper, {R"({"n":1})", R"({"bad":1})", R"({"skip":1})",
                                      R"({"twice":1})", R"({"wrong":1})"});
  REQUIRE(results.size() == 5);
  REQUIRE(results[0].requests.size() == 1);
  CHECK(results[0].requests[0].url == "https://a.example/");
  CHECK(results[0].requests[0].body == R"({"n":1})");
  CHECK(results[0].requests[0].timeout == std::chrono::milliseconds(1234));
  CHECK(results[1].error == "Error: bad event");
  CHECK_THAT(results[1].stack, Catch::Contains("test/mapping.js:1"));
  CHECK_FALSE(results[1].engine_fault);
  CHECK(results[2].error.empty());
  CHECK(results[2].requests.empty());
  CHECK(results[3].requests.size() == 2);
  CHECK_THAT(results[4].error, Catch::Contains("'url'"));
}

TEST_CASE("a mapping that does not load is refused") {
  auto pool = script::WorkerPool::Start({});
  REQUIRE(pool.ok());
  const auto config = NormaliseConfig({}, "{}");
  REQUIRE(config.ok());
  CHECK(MakeMapper({}, "export const nothing = 1;", *config, **pool).status().code() ==
        StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace millrace::destination
