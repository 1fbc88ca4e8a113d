#include "libs/script/engine.h"

#include <catch2/catch.hpp>

#include "libs/script/testing.h"

namespace millrace::script {
namespace {

CallOutput Run(const std::string& source, const std::string& event = "{}", Limits limits = {}) {
  auto engine = MakeQuickJsEngine();
  auto instance = engine->Load(
      std::make_shared<const Module>(Module{.id = "test", .source = source, .limits = limits}),
      nullptr, {});
  INFO(Message(instance.status()));
  REQUIRE(instance.ok());
  (*instance)->Start(1, {.event = event, .now_us = 1'700'000'000'123'456, .seed = "seed"});
  CallOutput output;
  REQUIRE((*instance)->TakeEnded(&output) == 1);
  return output;
}

std::string Thrown(const std::string& expression) {
  return Run("export function map() { throw new Error(JSON.stringify(" + expression + ")); }")
      .error;
}

std::string Value(const std::string& body, const std::string& event = "{}") {
  const CallOutput output =
      Run("export function map(event, config, context) { " + body + " }", event);
  INFO(output.error << "\n" << output.stack);
  REQUIRE(output.outcome == Outcome::kValue);
  return output.value;
}

TEST_CASE("results are written as JSON.stringify writes them") {
  const char* const expressions[] = {
      "{a: 1, b: -0, c: 1.5, d: 1e21, e: NaN, f: -Infinity, g: 0.1 + 0.2, h: 2 ** 53}",
      "[undefined, null, () => 1, Symbol('x'), [], {}]",
      "{u: undefined, f() {}, n: null}",
      "['\\u0000\\u001f\\b\\f\\n\\r\\t\"\\\\/', '\\ud800', '\\udfffx', '\\ud83d\\ude00', 'é', "
      "'퟿']",
      "[new Number(3), new String('s'), new Boolean(false), new Date(0)]",
      "{toJSON(key) { return ['key', key]; }}",
      "{inner: {toJSON(key) { return key; }}, list: [{toJSON(key) { return key; }}]}",
      "{2: 'b', 1: 'a', z: 1, ['__proto__']: 5}",
      "new Proxy([1, 2], {})",
      "new Map([[1, 2]])",
      "'text' + 'rope'.repeat(3)",
      "Object.create({inherited: 1})",
      "JSON.parse('{\"__proto__\": {\"a\": 1}}')",
  };
  for (const char* expression : expressions) {
    INFO(expression);
    const std::string by_writer = Value(std::string("return (") + expression + ");");
    CHECK("Error: " + by_writer == Thrown(expression));
  }
}

TEST_CASE("the event's keys stay its own, also __proto__") {
  CHECK(
      Value("return {own: Object.keys(event), polluted: {}.x === 1, back: event};",
            R"({"__proto__":{"x":1},"constructor":2})") ==
      R"({"own":["__proto__","constructor"],"polluted":false,"back":{"__proto__":{"x":1},"constructor":2}})");
}

TEST_CASE("time, random numbers and ids are given, not found") {
  CHECK(
      Value("return [context.now, Date.now(), new Date().toISOString(), new Date(5).getTime(), "
            "new Date() instanceof Date, typeof performance];") ==
      R"(["2023-11-14T22:13:20.123Z",1700000000123,"2023-11-14T22:13:20.123Z",5,true,"undefined"])");
  const std::string first = Value("return [context.uuid(), context.uuid(), Math.random()];");
  CHECK(first == Value("return [context.uuid(), context.uuid(), Math.random()];"));
  CHECK(first[16] == '4');
}

TEST_CASE("a module may leave the event unparsed") {
  const CallOutput untouched =
      Run("export const needs_event = false;"
          "export function map(event, config, context) { return {event: event === undefined, body: "
          "context.raw}; }",
          "not JSON");
  CHECK(untouched.value == R"({"event":true,"body":{"$raw":true}})");
  const CallOutput touched =
      Run("export const needs_event = false;"
          "export function map(event, config, context) { return context.event.a; }",
          R"({"a":[1]})");
  CHECK(touched.value == "[1]");
}

TEST_CASE("keys are looked for in the bytes of the event") {
  CHECK(Value("return [context.mentions('a'), context.mentions('c'), context.mentions('c', 'b')];",
              R"({"a":{"b":1}})") == "[true,false,true]");
  CHECK(Value("return context.mentions('a');", R"({"\u0061":1})") == "true");
}

TEST_CASE("names that the call was given as changed") {
  auto engine = MakeQuickJsEngine();
  auto instance =
      engine->Load(std::make_shared<const Module>(
                       Module{.id = "test",
                              .source = "export function map(event, config, context) {"
                                        "  return ['a', 'b c', 'b', '', 'a\",\"b c'].map((name) => "
                                        "context.changed(name)); }"}),
                   nullptr, {});
  REQUIRE(instance.ok());
  CallOutput output;
  (*instance)->Start(1, {.event = "{}", .seed = "seed", .extra_json = R"(["a","b c"])"});
  REQUIRE((*instance)->TakeEnded(&output) == 1);
  CHECK(output.value == "[true,true,false,false,false]");
  (*instance)->Start(2, {.event = "{}", .seed = "seed"});
  REQUIRE((*instance)->TakeEnded(&output) == 2);
  CHECK(output.value == "[false,false,false,false,false]");
}

TEST_CASE("nothing, promises and log lines") {
  CHECK(Run("export const map = () => null;").outcome == Outcome::kNothing);
  CHECK(Run("export async function map() { return 1; }").value == "1");
  CHECK(Run("export const map = () => new Promise(() => 0);").outcome == Outcome::kError);
  CHECK(Run("export function map() { log('a', 1, {b: 2}); return 1; }").log == "a 1 {\"b\":2}\n");
}

TEST_CASE("a script at fault says where") {
  const CallOutput thrown = Run("export function map() {\n  throw new Error('no good');\n}");
  CHECK(thrown.outcome == Outcome::kError);
  CHECK(thrown.error == "Error: no good");
  CHECK_THAT(thrown.stack, Catch::Contains("test:2"));
  CHECK(Run("export const map = () => ({get a() { throw 'x'; }});").error == "x");
  CHECK_THAT(Run("export function map() { const a = {}; a.a = a; return a; }").error,
             Catch::Contains("circular"));
  CHECK_THAT(Run("export const map = () => 1n;").error, Catch::Contains("BigInt"));
  CHECK_THAT(Run("export const map = () => 1;", "{bad").error, Catch::Contains("SyntaxError"));
}

TEST_CASE("limits hold") {
  Limits limits;
  limits.cpu_time = std::chrono::milliseconds(30);
  limits.memory_bytes = 8 << 20;
  const char* const endless[] = {"for (;;) {}",
                                 "const f = async () => { for (;;) await 0; }; return f();",
                                 "return /^(a+)+$/.test('a'.repeat(40) + '!');",
                                 "try { for (;;) {} } finally { for (;;) {} }"};
  for (const char* body : endless) {
    INFO(body);
    const CallOutput output =
        Run("export function map() { " + std::string(body) + " }", "{}", limits);
    CHECK(output.outcome == Outcome::kError);
    CHECK_THAT(output.error, Catch::Contains("30 ms"));
  }
  limits.cpu_time = std::chrono::milliseconds(5000);
  const char* const hungry[] = {"const a = []; for (;;) a.push('x'.repeat(100000) + a.length);",
                                "new ArrayBuffer(1 << 30);",
                                "'x'.repeat(1 << 28);",
                                "const f = () => f() + 1; f();",
                                "2n ** 999999999n;",
                                "let a = []; for (let i = 0; i < 1e5; ++i) a = [a]; return a;"};
  for (const char* body : hungry) {
    INFO(body);
    CHECK(Run("export function map() { " + std::string(body) + " }", "{}", limits).outcome ==
          Outcome::kError);
  }
}

TEST_CASE("what does not load is refused with the reason") {
  auto engine = MakeQuickJsEngine();
  const auto refusal = [&](const std::string& source) {
    const auto module = std::make_shared<const Module>(Module{.id = "test", .source = source});
    return std::string(Message(engine->Load(module, nullptr, {}).status()));
  };
  CHECK_THAT(refusal("export function map( {"), Catch::Contains("SyntaxError"));
  CHECK_THAT(refusal("export const other = 1;"), Catch::Contains("function named 'map'"));
  CHECK_THAT(refusal("throw new Error('at load');"), Catch::Contains("at load"));
  CHECK_THAT(refusal("import 'absent'; export const map = () => 1;"), Catch::Contains("absent"));
  auto with_library =
      engine->Load(std::make_shared<const Module>(
                       Module{.id = "test",
                              .source = "import {one} from 'lib'; export const map = () => one;",
                              .libraries = {{"lib", "export const one = 1;"}}}),
                   nullptr, {});
  REQUIRE(with_library.ok());
  (*with_library)->Start(1, {.event = "{}"});
  CallOutput output;
  REQUIRE((*with_library)->TakeEnded(&output) == 1);
  CHECK(output.value == "1");
}

}  // namespace
}  // namespace millrace::script
