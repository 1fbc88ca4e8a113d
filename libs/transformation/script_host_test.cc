#include "libs/transformation/script_host.h"

#include <catch2/catch.hpp>

#include <optional>

#include "libs/base/clock.h"
#include "libs/script/testing.h"
#include "libs/transformation/memory_state.h"
#include "libs/transformation/transformer_testing.h"

namespace millrace::transformation {
namespace {

script::HostAnswer Ask(script::Host& host, const std::string& name, const std::string& arguments,
                       uint32_t input = 0) {
  std::optional<script::HostAnswer> answer;
  host.Ask({.input = input, .name = name, .arguments = arguments},
           [&](script::HostAnswer given) { answer = std::move(given); });
  REQUIRE(answer.has_value());
  return *answer;
}

TEST_CASE("what is not there is said in words") {
  const auto host = MakeScriptHost({.stateful = true, .fetches = {1}});
  struct Case {
    const char* name;
    const char* arguments;
    const char* error;
  };
  const auto c = GENERATE(values<Case>({
      {"fetch", R"(["https://a.example/"])", "fetch is not available here"},
      {"geolocation", R"(["1.2.3.4"])", "geolocation is not available right now"},
      {"store.get", R"(["k"])", "store is not available here"},
      {"open", "[]", "there is no host function 'open'"},
      {"store.get", "{not JSON", "store is not available here"},
  }));
  CAPTURE(c.name);
  const auto answer = Ask(*host, c.name, c.arguments);
  CHECK(answer.failed);
  CHECK(answer.text == c.error);
}

TEST_CASE("each call has its own number of fetches") {
  ListFetcher fetcher;
  const auto host = MakeScriptHost({.fetcher = &fetcher, .fetches = {2, 1}});
  CHECK_FALSE(Ask(*host, "fetch", "[1]", 0).failed);
  CHECK_FALSE(Ask(*host, "fetch", "[2]", 0).failed);
  const auto third = Ask(*host, "fetch", "[3]", 0);
  CHECK(third.failed);
  CHECK(third.text.find("one call may make 2") != std::string::npos);
  CHECK_FALSE(Ask(*host, "fetch", "[4]", 1).failed);
  CHECK(Ask(*host, "fetch", "[5]", 7).failed);  // an input that is none
  host->Ended(0, false);                        // it is run again
  CHECK_FALSE(Ask(*host, "fetch", "[6]", 0).failed);
  CHECK(fetcher.asked() == std::vector<std::string>{"[1]", "[2]", "[4]", "[6]"});
}

TEST_CASE("geolocation answers as RudderStack's") {
  FixedGeolocation geolocation;
  const auto host = MakeScriptHost({.geolocation = &geolocation});
  CHECK(Ask(*host, "geolocation", R"(["192.0.2.1"])").text == R"({"country":"AQ"})");
  CHECK(Ask(*host, "geolocation", R"(["192.0.2.9"])").text == "{}");
  for (const char* arguments : {R"(["home"])", "[]", "[null]", "[5]"}) {
    CHECK(Ask(*host, "geolocation", arguments).text == "invalid ip address");
  }
}

TEST_CASE("what a call that failed has stored is taken back") {
  FakeClock clock;
  const auto state = MakeMemoryState(clock);
  const auto host = MakeScriptHost({.state = state.get(), .stateful = true});
  const auto get = [&](uint32_t input) { return Ask(*host, "store.get", R"(["k"])", input).text; };
  Ask(*host, "store.set", R"(["k","1",0])", 0);
  CHECK(get(0) == R"("1")");
  host->Ended(0, true);
  Ask(*host, "store.set", R"(["k","2",0])", 1);
  CHECK(Ask(*host, "store.incr", R"(["n",2,0])", 1).text == "2.0");
  host->Ended(1, false);
  CHECK(get(2) == R"("1")");
  Ask(*host, "store.del", R"(["k"])", 2);
  CHECK(get(2) == "null");
  host->Ended(9, false);  // another call's end changes nothing
  CHECK(get(2) == "null");
  // The end of 2 never came: what it wrote is not kept.
  CHECK(get(3) == R"("1")");
}

TEST_CASE("the store says what is wrong") {
  FakeClock clock;
  const auto state = MakeMemoryState(clock);
  const auto host = MakeScriptHost({.state = state.get(), .stateful = true});
  CHECK(Ask(*host, "store.get", "[]").text == "store: the key must be a text that is not empty");
  CHECK(Ask(*host, "store.fly", R"(["k"])").text == "there is no 'store.fly'");
  Ask(*host, "store.set", R"(["k","\"text\"",0])");
  CHECK(Ask(*host, "store.incr", R"(["k",1,0])").text ==
        "store.incr: the value of 'k' is no number");
  const auto stateless = MakeScriptHost({.state = state.get()});
  CHECK(Ask(*stateless, "store.get", R"(["k"])").failed);
}

TEST_CASE("what is stored for a time ends") {
  FakeClock clock;
  const auto state = MakeMemoryState(clock);
  const auto host = MakeScriptHost({.state = state.get(), .stateful = true});
  Ask(*host, "store.set", R"(["k","1",5])");
  clock.Advance(std::chrono::seconds(4));
  CHECK(Ask(*host, "store.get", R"(["k"])").text == R"("1")");
  clock.Advance(std::chrono::seconds(1));
  CHECK(Ask(*host, "store.get", R"(["k"])").text == "null");
}

}  // namespace
}  // namespace millrace::transformation
