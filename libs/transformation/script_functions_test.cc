#include <catch2/catch.hpp>

#include "libs/transformation/memory_state.h"
#include "libs/transformation/transformer_testing.h"

// What scripts find around them: js/adapter.js with script_host.cc.
namespace millrace::transformation {
namespace {

using Texts = std::vector<std::string>;

constexpr char kAnswer[] =
    R"({"url":"https://a.example/","status":203,"headers":{"x-a":"b"},"body":"{\"a\":1}"})";
constexpr char kTextAnswer[] =
    R"({"url":"https://a.example/","status":200,"headers":{},"body":"plain"})";

TEST_CASE("log keeps what is said, with the secrets masked") {
  TestFactory test;
  auto* credential = test.workspace.add_credentials();
  credential->set_key("token");
  credential->set_value("tops3cret");
  credential->set_secret(true);
  const auto outputs = test.Outputs(
      "export function transformEvent(event) { log('n', event.n, {a: [1]}, null, undefined); "
      "console.log(getCredential('token')); throw new Error('with ' + getCredential('token')); }",
      {R"({"n":1})"});
  CHECK(outputs[0].log == Texts{R"(n 1 {"a":[1]} null undefined)", "***"});
  CHECK(outputs[0].error == "Error: with ***");
  CHECK(outputs[0].stack == "    at transformEvent (transformation:1:149)\n");
}

TEST_CASE("nothing that is logged costs the event") {
  TestFactory test;
  struct Case {
    const char* value;
    const char* line;
  };
  const auto c = GENERATE(values<Case>({
      {"{a: 1n, b: [2n]}", R"({"a":"1n","b":["2n"]})"},
      {"(() => { const a = {n: 1}; a.a = a; a.list = [a, {n: 2}]; return a; })()",
       R"({"n":1,"a":"[circular]","list":["[circular]",{"n":2}]})"},
      {"(() => { const a = {n: 1}; return {a, b: a, c: 1n}; })()",
       R"({"a":{"n":1},"b":{"n":1},"c":"1n"})"},
      {"{get a() { throw new Error('no'); }}", "[cannot be shown]"},
      {"new Proxy({}, {ownKeys() { throw 1; }})", "[cannot be shown]"},
      {"Object.assign(new Error('bad'), {toString() { throw 1; }})", "{}"},
      {"new Error('bad')", "Error: bad\n    at transformEvent (transformation:1:57)"},
      {"Symbol('s')", "Symbol(s)"},
      {"undefined", "undefined"},
  }));
  CAPTURE(c.value);
  const auto outputs = test.Outputs(
      fmt::format(
          "export function transformEvent(event) {{ log('seen', {}, 'end'); return event; }}",
          c.value),
      {R"({"n":1})"});
  CHECK(TestFactory::Texts(outputs) == Texts{R"({"n":1})"});
  std::string log;
  for (const std::string& line : outputs[0].log) log += (log.empty() ? "" : "\n") + line;
  CHECK(log == fmt::format("seen {} end", c.line));
}

TEST_CASE("getCredential looks keys up") {
  TestFactory test;
  for (const auto& [key, value] : std::map<std::string, std::string>{{"k", "v"}, {"7", "seven"}}) {
    auto* credential = test.workspace.add_credentials();
    credential->set_key(key);
    credential->set_value(value);
  }
  struct Case {
    const char* key;
    const char* text;
  };
  const auto c = GENERATE(values<Case>({
      {"'k'", R"({"v":"v"})"},
      {"'k', 'other'", R"({"v":"v"})"},
      {"7", R"({"v":"seven"})"},
      {"'none'", "{}"},
      {"'toString'", "{}"},
      {"'__proto__'", "{}"},
      {"{}", "{}"},
      {"[]", "{}"},
      {"true", "{}"},
      {"", "thrown: TypeError: Key should be valid and defined"},
      {"null", "thrown: TypeError: Key should be valid and defined"},
  }));
  CAPTURE(c.key);
  CHECK(test.Run(
            fmt::format("export const transformEvent = () => ({{v: getCredential({})}});", c.key),
            {"{}"}) == Texts{c.text});
  // It is there while the module loads.
  CHECK(test.Run("const v = getCredential('k'); export const transformEvent = () => ({v});",
                 {"{}"}) == Texts{R"({"v":"v"})"});
}

TEST_CASE("fetch gives parsed JSON or ERROR, fetchV2 all of the answer or an error") {
  struct Case {
    const char* name;
    script::HostAnswer answer;
    const char* simple;
    const char* full;
  };
  const auto c = GENERATE(values<Case>({
      {"JSON",
       {.text = kAnswer},
       R"({"r":{"a":1}})",
       R"({"r":{"url":"https://a.example/","status":203,"headers":{"x-a":"b"},"body":{"a":1}}})"},
      {"text",
       {.text = kTextAnswer},
       R"({"r":"ERROR"})",
       R"({"r":{"url":"https://a.example/","status":200,"headers":{},"body":"plain"}})"},
      {"failed",
       {.failed = true, .text = "no route"},
       R"({"r":"ERROR"})",
       "thrown: Error: no route"},
      {"named",
       {.failed = true, .text = "no route", .error_name = "FetchError"},
       R"({"r":"ERROR"})",
       "thrown: FetchError: no route"},
  }));
  CAPTURE(c.name);
  for (const bool full : {false, true}) {
    TestFactory test(std::vector<script::HostAnswer>{c.answer});
    const std::string code = fmt::format(
        "export async function transformEvent(event) {{ return {{r: await {}('https://a.example/', "
        "{{method: 'PUT', "
        "body: event}})}}; }}",
        full ? "fetchV2" : "fetch");
    CHECK(test.Run(code, {R"({"n":1})"}) == Texts{full ? c.full : c.simple});
    CHECK(test.fetcher.asked() ==
          Texts{R"(["https://a.example/",{"method":"PUT","body":{"n":1}}])"});
  }
}

TEST_CASE("fetches are counted for each event") {
  TestFactory test;
  auto version = test.Version(
      "export async function transformEvent(event) { let n = 0; for (; n < event.n; ++n) await "
      "fetchV2('x'); return "
      "{n}; }");
  version.mutable_limits()->set_fetches(3);
  auto made = test.factory->Make(version, test.workspace);
  REQUIRE(made.ok());
  const Texts outputs = test.Run(**made, {R"({"n":3})", R"({"n":4})", R"({"n":2})"});
  REQUIRE(outputs.size() == 3);
  CHECK(outputs[0] == R"({"n":3})");
  CHECK(outputs[1].find("one call may make 3") != std::string::npos);
  CHECK(outputs[2] == R"({"n":2})");
}

TEST_CASE("an error of fetchV2 may be returned as an event") {
  TestFactory test({{.failed = true, .text = "no route"}});
  const auto outputs = test.Outputs(
      "export const transformEvent = () => fetchV2('x').catch((error) => error);", {"{}"});
  REQUIRE(outputs[0].events.size() == 1);
  CHECK(outputs[0].events[0].view().find(R"("message":"no route")") != std::string_view::npos);
}

TEST_CASE("geolocation resolves to what is known of an address") {
  TestFactory test;
  const std::string code =
      "export async function transformEvent(event) { try { return {geo: await "
      "geolocation(event.ip)}; } "
      "catch (error) { return {error: error.message}; } }";
  CHECK(test.Run(code,
                 {R"({"ip":"192.0.2.1"})", R"({"ip":"192.0.2.2"})", R"({"ip":"home"})", "{}"}) ==
        Texts{R"({"geo":{"country":"AQ"}})", R"({"geo":{}})", R"({"error":"invalid ip address"})",
              R"({"error":"invalid ip address"})"});
}

TEST_CASE("store keeps values across events, and not those of events that fail") {
  TestFactory test;
  FakeClock clock;
  const auto state = MakeMemoryState(clock);
  RunContext context;
  context.state = state.get();
  const auto run = [&](const std::string& code, const std::vector<std::string>& events) {
    return TestFactory::Texts(test.Outputs(code, events, context));
  };
  CHECK(run("export async function transformEvent(event) { const n = await store.incr('n', "
            "event.by); await null; "
            "if (event.bad) throw new Error('bad'); return {n}; }",
            {"{}", R"({"by":5,"bad":1})", R"({"by":2})"}) ==
        Texts{R"({"n":1})", "thrown: Error: bad", R"({"n":3})"});
  CHECK(run("export function transformEvent() { const was = store.get('o'); store.set('o', {a: "
            "[1]}, 60); "
            "const now = store.get('o'); store.del('o'); return {was: was === undefined, now, "
            "gone: store.get('o')}; }",
            {"{}"}) == Texts{R"({"was":true,"now":{"a":[1]}})"});
  CHECK(run("export function transformBatch(events) { return events.map((e) => { e.n = "
            "store.incr('n'); "
            "if (e.bad) throw new Error('bad'); return e; }); }",
            {R"({"messageId":"m0"})", R"({"messageId":"m1","bad":1})", R"({"messageId":"m2"})"}) ==
        Texts{R"({"messageId":"m0","n":4})", "thrown: Error: bad", R"({"messageId":"m2","n":5})"});
}

TEST_CASE("store says what it cannot take") {
  TestFactory test;
  FakeClock clock;
  const auto state = MakeMemoryState(clock);
  RunContext context;
  context.state = state.get();
  struct Case {
    const char* call;
    const char* error;
  };
  const auto c = GENERATE(values<Case>({
      {"store.get()",
       "TypeError: store.get: the key must be a text that is not empty, not undefined"},
      {"store.set(5, 1)",
       "TypeError: store.set: the key must be a text that is not empty, not a number"},
      {"store.set('k')", "TypeError: store.set: there is no value; store.del(key) removes one"},
      {"store.set('k', 1, -1)", "TypeError: store.set: ttlSeconds must be a number of at least 1"},
      {"store.set('k', 'text'); store.incr('k')",
       "Error: store.incr: the value of 'k' is no number"},
      {"store.incr('k', NaN)", "TypeError: store.incr: what is added must be a finite number"},
  }));
  CAPTURE(c.call);
  CHECK(TestFactory::Texts(test.Outputs(
            fmt::format("export function transformEvent() {{ {}; }}", c.call), {"{}"}, context)) ==
        Texts{std::string("thrown: ") + c.error});
}

}  // namespace
}  // namespace millrace::transformation
