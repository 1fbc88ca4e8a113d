#include <catch2/catch.hpp>

#include <random>
#include <string>

#include "libs/script/engine.h"

namespace millrace::script {
namespace {

/// Runs `body` (a function of `event`, `context`) on the event, which is made lazily.
CallOutput Run(const std::string& body, const std::string& event) {
  static const auto engine = MakeQuickJsEngine();
  auto instance = engine->Load(
      std::make_shared<const Module>(Module{
          .id = "test", .source = "export function map(event, config, context) {" + body + "}"}),
      nullptr, {});
  INFO(Message(instance.status()));
  REQUIRE(instance.ok());
  (*instance)->Start(1, {.event = event, .seed = "s"});
  CallOutput output;
  REQUIRE((*instance)->TakeEnded(&output) == 1);
  return output;
}

std::string Value(const std::string& body, const std::string& event) {
  const CallOutput output = Run(body, event);
  INFO(output.error << "\n" << output.stack);
  CHECK(output.outcome == Outcome::kValue);
  return output.value;
}

TEST_CASE("untouched members are written as JSON.stringify would, numbers as they came") {
  struct Case {
    const char* event;
    const char* written;
  };
  for (const Case& c : {
           Case{R"({"a":1.0,"b":12345678901234567890,"c":-0,"d":1e3})",
                R"({"a":1.0,"b":12345678901234567890,"c":-0,"d":1e3})"},
           Case{R"( { "a" : [ 1 , { "b" : "x y" } ] , "c" : { } } )",
                R"({"a":[1,{"b":"x y"}],"c":{}})"},
           Case{R"({"b":1,"2":"two","a":1,"1":"one"})", R"({"1":"one","2":"two","b":1,"a":1})"},
           Case{R"({"a":1,"b":2,"a":3})", R"({"a":3,"b":2})"},
           Case{R"({"x":{"a":1,"b":2,"a":3,"7":1,"__proto__":4}})",
                R"({"x":{"7":1,"a":3,"b":2,"__proto__":4}})"},
           Case{R"({"__proto__":{"x":1},"constructor":2})",
                R"({"__proto__":{"x":1},"constructor":2})"},
           Case{R"({"a":"\u0041\/\n","\u0062":"\"","é":"ü€😀"})",
                R"({"a":"A/\n","b":"\"","é":"ü€😀"})"},
           Case{R"({"a":"\ud800","b":"\u001f"})", R"({"a":"\ud800","b":"\u001f"})"},
           Case{R"([{"a":1.50},[1.50]])", R"([{"a":1.50},[1.5]])"},
           Case{"{}", "{}"},
           Case{"[]", "[]"},
           Case{" 3 ", "3"},
           Case{R"({"":1})", R"({"":1})"},
       }) {
    INFO(c.event);
    CHECK(Value("return event;", c.event) == c.written);
  }
}

TEST_CASE("what JSON.parse refuses is refused") {
  for (const char* event : {"{",
                            "{\"a\"}",
                            "{\"a\":}",
                            "{\"a\":1,}",
                            "[1,]",
                            "{\"a\":01}",
                            "{\"a\":1.}",
                            "{\"a\":+1}",
                            "{\"a\":tru}",
                            "{\"a\":\"\t\"}",
                            "{\"a\":\"\\x\"}",
                            "{\"a\":\"\\u12\"}",
                            "{\"a\":1}}",
                            "{a:1}",
                            "{'a':1}",
                            "[1",
                            "{\"a\":\"",
                            "{\"a\":[{]}",
                            "nul",
                            ""}) {
    INFO(event);
    CHECK_THAT(Run("return event;", event).error, Catch::Contains("SyntaxError"));
  }
  const std::string deep = std::string(300, '[') + std::string(300, ']');
  CHECK(Value("return event;", "{\"a\":" + deep + "}") == "{\"a\":" + deep + "}");
}

TEST_CASE("scripts that change what is inherited are seen") {
  CHECK(Value("Object.prototype.toJSON = function () { return 'o'; }; return [event, event.a];",
              R"({"a":{"b":1}})") == R"("o")");
  CHECK(Value("Array.prototype.toJSON = function () { return 'a'; }; return {e: event, "
              "n: {toJSON() { return 1; }}};",
              R"({"a":[1],"b":2})") == R"({"e":{"a":"a","b":2},"n":1})");
  CHECK(Value("Object.setPrototypeOf(Array.prototype, {toJSON() { return 'p'; }}); return event;",
              R"({"a":[1]})") == R"({"a":"p"})");
  CHECK(Value("return {d: new Date(0), e: event};", R"({"a":1.0})") ==
        R"({"d":"1970-01-01T00:00:00.000Z","e":{"a":1.0}})");
}

TEST_CASE("events may be kept across calls") {
  static const auto engine = MakeQuickJsEngine();
  auto instance = engine->Load(
      std::make_shared<const Module>(
          Module{.id = "test",
                 .source = "const kept = []; export function map(event) { kept.push(event.inner);"
                           " return kept.length === 100 ? kept.map((k) => k.list[1].x) : 0; }"}),
      nullptr, {});
  REQUIRE(instance.ok());
  CallOutput output;
  for (uint32_t i = 1; i <= 100; ++i) {
    const std::string event = fmt::format(R"({{"inner":{{"list":[0,{{"x":{}}}]}}}})", i);
    (*instance)->Start(i, {.event = event, .seed = "s"});
    REQUIRE((*instance)->TakeEnded(&output) == i);
  }
  CHECK_THAT(output.value, Catch::StartsWith("[1,2,3") && Catch::EndsWith("99,100]"));
}

/// Random JSON with what is hard: equal keys, numbers as keys, escapes, spaces.
class JsonMaker {
 public:
  explicit JsonMaker(uint32_t seed) : random_(seed) {}
  size_t Below(size_t limit) { return random_() % limit; }
  std::string Space() { return Below(12) == 0 ? " " : ""; }
  std::string Key() {
    static const char* const kKeys[] = {
        "\"a\"", "\"b\"", "\"c\"",         "\"1\"",      "\"0\"",
        "\"d\"", "\"\"",  "\"\\u0061\"",   "\"é\"",      "\"toString\"",
        "\"e\"", "\"f\"", "\"__proto__\"", "\"length\"", "\"4294967295\""};
    return kKeys[Below(std::size(kKeys))];
  }
  std::string Make(int depth) {
    static const char* const kScalars[] = {
        "1",    "0",    "-7",       "123456789", "1234567890", "2.5",         "true", "false",
        "null", "\"\"", "\"text\"", "\"é\"",     "\"\\n\"",    "\"\\u0041\"", "\"€\""};
    const size_t kind = depth == 0 ? 1 : Below(4);
    if (depth > 3 || kind == 3 || kind == 2) {
      if (depth > 0) return kScalars[Below(std::size(kScalars))];
    }
    std::string text(1, kind == 0 ? '[' : '{');
    for (size_t i = 0, count = Below(7); i < count; ++i) {
      if (i > 0) text += "," + Space();
      if (kind != 0) text += Key() + Space() + ":" + Space();
      text += Make(depth + 1);
    }
    return text + Space() + (kind == 0 ? ']' : '}');
  }

 private:
  std::mt19937 random_;
};

// Does the same random things to a lazy object and to what JSON.parse gives; both must stay equal
// in all that a script can see.
constexpr char kPrograms[] = R"js(
  const text = JSON.stringify, parse = JSON.parse;
  function see(o, deep) {
    if (o === null || typeof o !== 'object') return typeof o + ':' + String(o) + Object.is(o, -0);
    const out = [Array.isArray(o), Object.getPrototypeOf(o) === Object.prototype, Object.isExtensible(o),
      Object.isFrozen(o), Object.isSealed(o), text(Reflect.ownKeys(o)), Object.keys(o).join(), Object.prototype.toString.call(o)];
    for (const k in o) out.push('in:' + k);
    for (const k of Reflect.ownKeys(o)) {
      const d = Object.getOwnPropertyDescriptor(o, k);
      out.push(k, d.writable, d.enumerable, d.configurable, 'value' in d ? see(d.value, deep + 1) : 'accessor');
    }
    return out.join('|');
  }
  function run(o, numbers) {
    const seen = [];
    const next = (n) => numbers.length ? numbers.pop() % n : 0;
    const keys = ['a', 'b', 'c', '1', '0', 'd', '', 'é', 'toString', 'e', 'f', '__proto__', 'length', '4294967295', 'new'];
    let at = o;
    for (let step = 0; step < 6; ++step) {
      const k = keys[next(keys.length)];
      const objects = (v) => v !== null && typeof v === 'object';
      try {
        switch (next(20)) {
          case 0: seen.push(see(at[k], 0)); break;
          case 1: at[k] = step; break;
          case 2: seen.push(delete at[k]); break;
          case 3: seen.push(k in at, Object.hasOwn(at, k)); break;
          case 4: Object.defineProperty(at, k, {value: step, enumerable: next(2) === 1}); break;
          case 5: Object.defineProperty(at, k, {get() { return step; }, configurable: true}); break;
          case 6: Object.freeze(at); break;
          case 7: Object.seal(at); break;
          case 8: Object.preventExtensions(at); break;
          case 9: at = {...at}; if (step === 0) o = at; break;
          case 10: at = Object.assign({z: 1}, at); break;
          case 11: seen.push(text(at)); break;
          case 12: seen.push(text(Object.entries(at))); break;
          case 13: { const {a, ...rest} = at; at[k] = rest; seen.push(text(a)); break; }
          case 14: if (Object.hasOwn(at, k) && objects(at[k])) at = at[k]; break;
          case 15: { const found = Object.values(at).filter(objects); if (found.length) at = found[0]; break; }
          case 16: at[k] = parse(text(at)); break;
          case 17: Object.defineProperty(at, k, {writable: false}); break;
          case 18: seen.push(Object.keys(at).length, text(Object.getOwnPropertyNames(at))); break;
          case 19: at = Object.fromEntries(Object.entries(at).reverse()); at.o = o === at ? 1 : o; break;
        }
      } catch (error) { seen.push(String(error)); }
    }
    return [o, at, seen];
  }
  const numbers = event.numbers;
  const lazy = run(event.value, [...numbers]), plain = run(parse(event.text), [...numbers]);
  if (text(lazy[2]) !== text(plain[2])) throw new Error('saw ' + text(lazy[2]) + ' not ' + text(plain[2]));
  const expected = text([plain[0], plain[1]]);
  if (event.look && see(lazy[0], 0) !== see(plain[0], 0)) {
    throw new Error('is ' + see(lazy[0], 0) + ' not ' + see(plain[0], 0));
  }
  return [[lazy[0], lazy[1]], expected];
)js";

TEST_CASE("no random program can tell a lazy object from a plain one") {
  static const auto engine = MakeQuickJsEngine();
  auto instance = engine->Load(
      std::make_shared<const Module>(Module{
          .id = "test", .source = std::string("export function map(event) {") + kPrograms + "}"}),
      nullptr, {});
  INFO(Message(instance.status()));
  REQUIRE(instance.ok());
#ifdef MILLRACE_SANITIZED
  constexpr uint32_t kRuns = 2'000;
#else
  constexpr uint32_t kRuns = 5'000;
#endif
  for (uint32_t seed = 1; seed <= kRuns; ++seed) {
    JsonMaker maker(seed);
    const std::string value = maker.Make(0);
    std::string numbers;
    for (int i = 0; i < 30; ++i)
      numbers += fmt::format("{}{}", i > 0 ? "," : "", maker.Below(1000));
    std::string quoted;
    for (const char c : value)
      quoted += c == '"' || c == '\\' ? std::string{'\\', c} : std::string{c};
    const std::string event = fmt::format(R"({{"value":{},"numbers":[{}],"look":{},"text":"{}"}})",
                                          value, numbers, seed % 2 == 0 ? "true" : "false", quoted);
    (*instance)->Start(seed, {.event = event, .seed = "s"});
    CallOutput output;
    REQUIRE((*instance)->TakeEnded(&output) == seed);
    INFO(event << "\n" << output.error << "\n" << output.stack << "\n" << output.value);
    REQUIRE(output.outcome == Outcome::kValue);
    // The writer's text of both, then JSON.stringify's of the plain ones, quoted.
    const size_t half = output.value.rfind(",\"[");
    REQUIRE(half != std::string::npos);
    std::string expected;
    for (size_t i = half + 2; i < output.value.size() - 2; ++i) {
      if (output.value[i] == '\\' && (output.value[i + 1] == '"' || output.value[i + 1] == '\\'))
        ++i;
      expected += output.value[i];
    }
    REQUIRE(output.value.substr(1, half - 1) == expected);
  }
}

}  // namespace
}  // namespace millrace::script
