#include "libs/transformation/rules.h"

#include <catch2/catch.hpp>

#include <fstream>
#include <sstream>

#include "libs/base/hash.h"
#include "libs/event/event_fields.h"
#include "libs/transformation/rules_values.h"

namespace millrace::transformation {
namespace {

config::v1::Workspace WithCredential() {
  config::v1::Workspace workspace;
  auto* const credential = workspace.add_credentials();
  credential->set_key("PII_SALT");
  credential->set_value("pepper");
  return workspace;
}

std::shared_ptr<Transformer> Compile(const std::string& yaml) {
  config::v1::TransformationVersion version;
  version.set_id("v1");
  version.set_code(yaml);
  auto transformer = RulesTransformer::Compile(version, WithCredential());
  if (!transformer.ok()) FAIL(yaml << "\n" << Message(transformer.status()));
  return *transformer;
}

std::vector<Output> RunAll(Transformer& transformer, std::vector<Input> inputs,
                           const RunContext& context = {}) {
  std::vector<Output> outputs;
  transformer.Run(std::move(inputs), context,
                  [&](std::vector<Output> done) { outputs = std::move(done); });
  return outputs;
}

std::string Result(Transformer& transformer, const std::string& event) {
  const auto outputs = RunAll(transformer, {{.event = Bytes(event)}});
  REQUIRE(outputs.size() == 1);
  if (!outputs[0].error.empty()) return "error: " + outputs[0].error;
  return outputs[0].events.empty() ? "dropped" : std::string(outputs[0].events[0].view());
}

TEST_CASE("Rules change what they name and nothing else", "[rules]") {
  struct Case {
    std::string rules;
    std::string event;
    std::string result;
  };
  const auto c = GENERATE(values<Case>({
      {"drop: event = Heartbeat", R"({"event":"Heartbeat"})", "dropped"},
      {"drop: event = Heartbeat",
       R"( {"event" : "Other", "n":12345678901234567890123, "e":1e999} )",
       R"( {"event" : "Other", "n":12345678901234567890123, "e":1e999} )"},
      {"drop: event = Heartbeat", R"({"event":"Heart\u0062eat"})", "dropped"},
      {"drop: event = Heartbeat", R"({"\u0065vent":"Heartbeat"})", "dropped"},
      {"drop: event = Heartbeat", R"({"event":"Heartbeat","event":"Last"})",
       R"({"event":"Heartbeat","event":"Last"})"},
      {"drop: true\n  when: a exists", R"({"a":0})", "dropped"},
      {"drop: true\n  when: a exists", R"({"a":null})", R"({"a":null})"},
      {"rename: {properties.total: properties.revenue}",
       R"({"properties":{"a":1, "total" : 2.50}})", R"({"properties":{"a":1, "revenue" : 2.50}})"},
      {"rename: {properties.total: properties.revenue}",
       R"({"properties":{"revenue":1,"total":2}})", R"({"properties":{"revenue":2}})"},
      {"rename: {properties.email: context.traits.email}", R"({"properties":{"email":"e"}})",
       R"({"context":{"traits":{"email":"e"}},"properties":{}})"},
      {"rename: {p.a: q.b}", R"({"p":{"a":1},"q":"no object"})",
       R"({"p":{"a":1},"q":"no object"})"},
      {"rename: {p.a: q.b}", R"({"p":{"a":1},"q":null})", R"({"p":{},"q":{"b":1}})"},
      {"rename: {a: b, b: a}", R"({"a":1,"b":2})", R"({"a":1})"},
      {"rename: {l.*.a: l.*.b}", R"({"l":[{"a":1},{"b":2,"a":3},4]})",
       R"({"l":[{"b":1},{"b":3},4]})"},
      {"remove: [a, b.c]", R"({"a":1,"b":{"c":1,"d":2,"c":3}})", R"({"b":{"d":2}})"},
      {"remove: [a, b, c]", R"({ "a":1 , "b":2 , "c":3 })", R"({  })"},
      {"remove: [b, c]", R"({ "a":1 , "b":2 , "c":3 })", R"({ "a":1 })"},
      {"remove: [l.0, l.2]", R"({"l":[1,2,3]})", R"({"l":[2]})"},
      {"remove: l.*", R"({"l":[1,2,3],"m":{}})", R"({"l":[],"m":{}})"},
      {"remove: 'p.\"a b\"'", R"({"p":{"a b":1,"a":2}})", R"({"p":{"a":2}})"},
      {"set: {a: 1, p.q.r: x, p.q.s: true}", R"({"b":2})",
       R"({"a":1,"p":{"q":{"s":true,"r":"x"}},"b":2})"},
      {"set: {a: '1', b: ~, c: [1, {d: 'true'}]}", R"({})",
       R"({"a":"1","b":null,"c":[1,{"d":"true"}]})"},
      {"keep: [p.a, p.b.c]", R"({"p":{"a":1,"b":{"c":1,"d":2},"e":3},"x":1})",
       R"({"p":{"a":1,"b":{"c":1}},"x":1})"},
      {"remove_null: p", R"({"p":{"a":null,"b":1,"b":null,"c":{"d":null}}})",
       R"({"p":{"c":{"d":null}}})"},
      {"cast: {a: string, b: number, c: integer, d: boolean, e: timestamp}",
       R"({"a":1.50,"b":" 2.5 ","c":"-7.9","d":"Yes","e":"2026-01-02"})",
       R"({"a":"1.50","b":2.5,"c":-7,"d":true,"e":"2026-01-02T00:00:00.000Z"})"},
      {"cast: {a: number, b: integer}\n  otherwise: remove", R"({"a":"x","b":{"c":1},"d":1})",
       R"({"d":1})"},
      {"cast: {a: number}\n  otherwise: null", R"({"a":"0x10"})", R"({"a":null})"},
      {"cast: {a: timestamp}", R"({"a":1700000000123})", R"({"a":"2023-11-14T22:13:20.123Z"})"},
      {"mask: {fields: a, keep_last: 2}", "{\"a\":\"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\"}",
       "{\"a\":\"**\xc3\xa9\xc3\xa9\"}"},
      {"mask: {fields: a, keep_last: 4}", R"({"a":"123"})", R"({"a":"***"})"},
      {"mask: {fields: a, keep_first: 1, email: true}", R"({"a":"joe@x@example.com"})",
       R"({"a":"j****@example.com"})"},
      {"hash: a", R"({"a":"x"})", "{\"a\":\"" + Sha256Hex("x") + "\"}"},
      {"hash: {fields: a, algorithm: md5, salt: s, salt_credential: PII_SALT, normalize: true}",
       R"({"a":" X\u0079 "})", "{\"a\":\"" + Md5Hex("spepperxy") + "\"}"},
      {"hash: a", R"({"a":[true]})", R"({"a":[true]})"},
      {"replace: {fields: a, pattern: '(\\w)-(\\w)', with: '\\2-\\1'}", R"({"a":"x-y z-w"})",
       R"({"a":"y-x w-z"})"},
      {"replace: {fields: a, pattern: '\\C', with: ''}", "{\"a\":\"\xc3\xa9\"}", R"({"a":""})"},
      {"lowercase: a", R"({"a":"A\n\"B"})", R"({"a":"a\n\"b"})"},
      {"rename_event: {a: b}", R"({"event":"a"})", R"({"event":"b"})"},
      {"sample: 100", R"({"userId":"u"})", R"({"userId":"u"})"},
      {"sample: 0", R"({"userId":"u"})", "dropped"},
      {"remove: a", "[1]", "error: the event is not a JSON object"},
      {"remove: a", R"({"b":"c)", "error: the event is not valid JSON"},
      {"remove: a", R"({"b":"c"} x)", "error: the event is not valid JSON"},
      {"remove: a", R"({"b")", "error: the event is not valid JSON"},
      {"remove: a", "", "error: the event is not a JSON object"},
      {"remove: a", R"({"b":"\ud800"})", R"({"b":"\ud800"})"},
  }));
  CAPTURE(c.rules);
  CHECK(Result(*Compile("- " + c.rules), c.event) == c.result);
}

TEST_CASE("Conditions hold when they should", "[rules]") {
  const std::string event =
      R"({"type":"track","event":"Order Completed","n":10,"big":1e3,"t":"2026-01-02T00:00:00Z","f":false,"z":null,)"
      R"("tags":["a",2,null],"items":[{"p":1},{"p":5}],"q":{"a b":"it's","in":1},"not":"x"})";
  struct Case {
    const char* condition;
    bool holds;
  };
  const auto c = GENERATE(values<Case>({
      {"type = track", true},
      {"type == 'track'", true},
      {"type=track", true},
      {"type = \"track\"", true},
      {"type = page", false},
      {"type != page", true},
      {"missing != page", true},
      {"missing = null", true},
      {"z = null", true},
      {"z exists", false},
      {"missing exists", false},
      {"f exists", true},
      {"f = false", true},
      {"f = 'false'", false},
      {"n = 10", true},
      {"n = 10.0", true},
      {"n = '10'", false},
      {"big = 1000", true},
      {"n > 9.5", true},
      {"n >= 10", true},
      {"n < 10", false},
      {"n <= 10", true},
      {"n > '1'", false},
      {"t >= '2026-01-01'", true},
      {"t < '2026-01-02T00:00:00.5Z'", false},
      {"t > 5", false},
      {"event in ['Order Completed', x]", true},
      {"event not in ['Order Completed']", false},
      {"n in [9, 10]", true},
      {"z in [null]", true},
      {"event contains 'der'", true},
      {"tags contains a", true},
      {"tags contains 2", true},
      {"tags contains 'b'", false},
      {"n contains 1", false},
      {"event contains 1", false},
      {"event starts_with Order", true},
      {"event ends_with 'ted'", true},
      {"event matches '(?i)^order\\s'", true},
      {"event matches '^Completed'", false},
      {"n matches '1'", false},
      {"items.*.p > 4", true},
      {"items.*.p > 5", false},
      {"items.0.p = 1", true},
      {"items.2.p exists", false},
      {"q.\"a b\" = 'it''s'", true},
      {"q.\"a b\" = \"it's\"", true},
      {"q.in = 1", true},
      {"not \"not\" = y", true},
      {"not (type = track)", false},
      {"type = page or n = 10 and f = false", true},
      {"(type = page or n = 10) and f = true", false},
      {"NOT type = page AND n > 1", true},
  }));
  CAPTURE(c.condition);
  CHECK((Result(*Compile("- drop: |-\n    " + std::string(c.condition)), event) == "dropped") ==
        c.holds);
}

TEST_CASE("Rules say where and what is wrong", "[rules]") {
  struct Case {
    const char* yaml;
    int line;
    int column;
    const char* message;
  };
  const auto c = GENERATE(values<Case>({
      {"rules:\n  - drop: [", 2, 1, "this is no YAML: "},
      {"", 1, 1, "there are no rules; write a list"},
      {"rules: []", 1, 1, "there are no rules"},
      {"rulez: []", 1, 1, "\"rulez\" is not known here; the keys are rules"},
      {"- dorp: a = 1", 1, 3, "\"dorp\" is no action; a rule has one of drop, keep_events"},
      {"- name: x", 1, 3, "a rule without an action"},
      {"- just text", 1, 3, "a rule is a map with one action"},
      {"- remove: a\n  keep: b.c", 2, 3, "a second action, keep, in one rule"},
      {"- drop: true", 1, 9, "drop: true drops every event"},
      {"- drop: type track", 1, 14, "after a path comes =, !="},
      {"- drop: 'type = '", 1, 17, "expected a value, not \"the end of the condition\""},
      {"- drop: (type = track", 1, 22, "expected )"},
      {"- drop: a = 1 b = 2", 1, 15, "expected and, or, or the end, not \"b = 2\""},
      {"- drop: a = 'x", 1, 13, "a quote is not closed"},
      {"- drop: a matches '('", 1, 19, "\"(\" is no regular expression (RE2): missing ): ("},
      {"- drop: a starts_with 5", 1, 23, "expected a text in quotes"},
      {"- drop: a..b = 1", 1, 9, "\"a..b\" is no path: a part is empty"},
      {"- remove: [a, b.]", 1, 15, "\"b.\" is no path: a part is empty"},
      {"- remove: 'a b'", 1, 11, "a name with spaces, dots, quotes or brackets stands in \"\""},
      {"- remove: []", 1, 11, "the list of paths is empty"},
      {"- sample: 101", 1, 11, "percent is a number from 0 to 100"},
      {"- sample: {percent: 1, by: device}", 1, 28, "by is user or message"},
      {"- sample: {percentage: 1}", 1, 12,
       "\"percentage\" is not known here; the keys are percent, by"},
      {"- rename: {a: a.b}", 1, 12, "a value cannot be moved into itself"},
      {"- rename: {a.*.b: c.d}", 1, 12, "with * only the last part"},
      {"- rename: [a]", 1, 11, "rename is a map of paths, old: new"},
      {"- set: {a.*: 1}", 1, 9, "* cannot stand here"},
      {"- keep: [event]", 1, 10, "keep works inside an object"},
      {"- cast: {a: float}", 1, 13, "a type is string, number, integer, boolean or timestamp"},
      {"- remove: a\n  otherwise: null", 2, 14, "otherwise belongs to cast only"},
      {"- hash: {fields: a, algorithm: sha1}", 1, 32, "algorithm is sha256 or md5"},
      {"- hash: {algorithm: md5}", 1, 9, "fields is missing"},
      {"- hash: {fields: a, salt_credential: NONE}", 1, 38,
       "the workspace has no credential \"NONE\"; make it first"},
      {"- mask: {fields: a, keep_last: -1}", 1, 32, "expected a whole number from 0 to 1000"},
      {"- replace: {fields: a, pattern: '['}", 1, 33, "this is no regular expression (RE2): "},
      {"- replace: {fields: a, pattern: a, with: '\\1'}", 1, 42, "with does not fit the pattern: "},
  }));
  CAPTURE(c.yaml);
  config::v1::TransformationVersion version;
  version.set_code(c.yaml);
  const auto faults = RulesTransformer::Check(version, {});
  REQUIRE(!faults.empty());
  CHECK(faults[0].where == "transformation");
  CHECK(faults[0].line == c.line);
  CHECK(faults[0].column == c.column);
  CHECK_THAT(faults[0].message, Catch::Contains(c.message));
  const auto compiled = RulesTransformer::Compile(version, {});
  CHECK(compiled.status().code() == StatusCode::kInvalidArgument);
  CHECK(Message(compiled.status()) ==
        fmt::format("line {}, column {}: {}", c.line, c.column, faults[0].message));
}

TEST_CASE("Check finds all faults at once", "[rules]") {
  config::v1::TransformationVersion version;
  version.set_code("- dorp: a\n- remove: [a..b, c..d]\n- sample: 200\n");
  const auto faults = RulesTransformer::Check(version, {});
  CHECK(faults.size() == 4);
}

TEST_CASE("Rules that are hostile are refused or harmless", "[rules]") {
  const auto check = [](const std::string& yaml) {
    config::v1::TransformationVersion version;
    version.set_code(yaml);
    return RulesTransformer::Check(version, {});
  };
  std::string bomb = "- set: {a: &a0 [x, x, x, x, x, x, x, x, x]}\n";
  for (int i = 1; i < 12; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    bomb += "- set: {a: &a" + std::to_string(i) + " [";
    for (int j = 0; j < 9; ++j) bomb += before + (j < 8 ? ", " : "]}\n");
  }
  CHECK_THAT(check(bomb)[0].message, Catch::Contains("larger than 65536 bytes"));
  CHECK(!check(std::string(300'000, ' ')).empty());
  CHECK(!check("- set: {a: " + std::string(3'000, '[') + std::string(3'000, ']') + "}").empty());
  CHECK(!check("- drop: " + std::string(3'000, '(') + "a = 1").empty());
  std::string chain = "- drop: a = 1";
  for (int i = 0; i < 3'000; ++i) chain += " or a = 1";
  CHECK_THAT(check(chain)[0].message, Catch::Contains("the condition is too large"));

  // What a rule makes is nested deeper than an event may be: that event's fault.
  const auto set = Compile("- set: {a: [[[[1]]]]}\n- remove: a.0.b\n  when: a exists");
  CHECK(Result(*set, "{}") == R"({"a":[[[[1]]]]})");
  const auto nested = [](size_t levels) {
    return std::string(levels, '[') + std::string(levels, ']');
  };
  const auto move = Compile("- rename: {x: a.b.c.d.e}\n- remove: a.b.c.d.e.f");
  CHECK(Result(*move, "{\"x\":" + nested(1'019) + "}") ==
        "{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":" + nested(1'019) + "}}}}}");
  CHECK(Result(*move, "{\"x\":" + nested(1'020) + "}") == "error: a rule nests the event too deep");
  CHECK(Result(*move, "{\"x\":" + std::string(100'000, '[') + "}") ==
        "error: the event is not valid JSON");
}

TEST_CASE("A batch: each event is its own, what is the same is shared", "[rules]") {
  const auto transformer = Compile("- drop: a = 1\n- set: {b: 2}\n  when: a = 2");
  const Bytes same(std::string(R"({"a":3})"));
  std::vector<Input> inputs = {{.event = Bytes(std::string(R"({"a":1})"))},
                               {.event = Bytes(std::string("{oops"))},
                               {.event = Bytes(std::string(R"({"a":2})"))},
                               {.event = same}};
  for (const bool test : {false, true}) {
    const auto outputs = RunAll(*transformer, inputs, {.test = test});
    REQUIRE(outputs.size() == 4);
    CHECK(outputs[0].events.empty());
    CHECK(outputs[0].error.empty());
    CHECK(outputs[1].error == "the event is not valid JSON");
    CHECK(outputs[1].error_class == "thrown");
    CHECK(outputs[2].events.at(0).view() == R"({"b":2,"a":2})");
    CHECK(outputs[3].events.at(0).view().data() == same.view().data());
  }
  CHECK(transformer->version_id() == "v1");
  CHECK_FALSE(transformer->stateful());
}

TEST_CASE("Sampling is stable and even", "[rules]") {
  const auto ten = Compile("- sample: 10");
  const auto twenty = Compile("- sample: {percent: 20, by: user}");
  const auto by_message = Compile("- sample: {percent: 10, by: message}");
  int kept = 0;
  int kept_messages = 0;
  for (int user = 0; user < 10'000; ++user) {
    const std::string who =
        "\"userId\":\"user-" + std::to_string(user) + "\",\"anonymousId\":\"a\"";
    const bool in = Result(*ten, "{" + who + ",\"messageId\":\"m1\"}") != "dropped";
    kept += in ? 1 : 0;
    CHECK((Result(*ten, "{" + who + ",\"messageId\":\"m2\"}") != "dropped") == in);
    if (in) CHECK(Result(*twenty, "{" + who + "}") != "dropped");
    kept_messages += Result(*by_message, "{\"userId\":\"u\",\"messageId\":\"" +
                                             std::to_string(user) + "\"}") != "dropped";
  }
  CHECK(kept > 900);
  CHECK(kept < 1'100);
  CHECK(kept_messages > 900);
  CHECK(kept_messages < 1'100);
}

TEST_CASE("Rules that make an event enormous fail it, before it is made", "[rules]") {
  const std::string doubling = "  - replace: {fields: a, pattern: '^(.*)$', with: '\\0\\0'}\n";
  std::string doublings = "rules:\n";
  for (int i = 0; i < 40; ++i) doublings += doubling;
  const std::string yaml = GENERATE_COPY(
      "rules:\n  - replace: {fields: a, pattern: '', with: '" + std::string(60'000, 'y') + "'}",
      "rules:\n  - replace: {fields: a, pattern: '.*', with: '" +
          [] {
            std::string with;
            for (int i = 0; i < 10'000; ++i) with += "\\0";
            return with;
          }() +
          "'}",
      doublings);
  const auto outputs =
      RunAll(*Compile(yaml), {{.event = Bytes(R"({"a":")" + std::string(20'000, 'x') + "\"}")}});
  CHECK(outputs[0].error == "the rules make the event larger by more than 1048576 bytes");
  CHECK(outputs[0].error_class == "result_too_large");
  CHECK(outputs[0].events.empty());
}

TEST_CASE("Replacing is what RE2 does", "[rules]") {
  for (const char* pattern : {"", "a", "a*", "b*", "x?", "^", "$", "(a)(b)?", "\\b", "[^a]", "é*",
                              "(?i)A|", ".*", "(.)(.)"}) {
    const auto re = std::make_shared<const RE2>(pattern);
    for (const char* with : {"", "-", "<\\0>", "\\\\"}) {
      for (const char* text : {"", "a", "ab", "baab", "éaé", "a b", "aaé€x"}) {
        INFO(pattern << " | " << with << " | " << text);
        std::string expected = text;
        const bool found = RE2::GlobalReplace(&expected, *re, with) > 0;
        const auto made = rules::ReplaceText('"' + std::string(text) + '"', {re, with});
        REQUIRE(made.has_value() == found);
        if (found) CHECK(event::DecodeText(*made) == expected);
      }
    }
  }
}

TEST_CASE("Rules stop when there is no room for what they make", "[rules]") {
  const auto transformer = Compile("rules: [{set: {b: 1}, when: c exists}]");
  RunContext context;
  context.output_budget = std::make_shared<ByteBudget>(60);
  const std::string same = R"({"a":"0123456789"})";
  const std::string changed = R"({"c":1,"a":"0123456789"})";
  const auto outputs = RunAll(*transformer,
                              {{.event = Bytes(changed)},
                               {.event = Bytes(same)},
                               {.event = Bytes(changed)},
                               {.event = Bytes(same)}},
                              context);
  CHECK(outputs[0].events.at(0).view() == R"({"b":1,"c":1,"a":"0123456789"})");
  CHECK(outputs[1].events.at(0).view() == same);
  for (const size_t i : {2, 3}) {
    CHECK(outputs[i].events.empty());
    CHECK(outputs[i].error_class == "result_too_large");
    CHECK(outputs[i].again);
  }
}

// The examples of docs/rules.md: a yaml block, and after it a block of in: and out: lines.
TEST_CASE("The examples in the docs do what they say", "[rules]") {
  std::ifstream file(MILLRACE_SOURCE_DIR "/docs/rules.md");
  REQUIRE(file.good());
  std::string line, yaml, event, block;
  int examples = 0;
  int results = 0;
  while (std::getline(file, line)) {
    if (line.starts_with("```")) {
      if (block == "yaml") ++examples;
      const bool opens = block.empty();
      block = !opens ? "" : line == "```yaml" ? "yaml" : "text";
      if (block == "yaml") yaml.clear();
    } else if (block == "yaml") {
      yaml += line + "\n";
    } else if (block == "text" && line.starts_with("in:  ")) {
      event = line.substr(5);
    } else if (block == "text" && line.starts_with("out: ")) {
      ++results;
      INFO(yaml << event);
      CHECK(Result(*Compile(yaml), event) == line.substr(5));
    }
  }
  CHECK(examples == 13);
  CHECK(results >= examples);
}

}  // namespace
}  // namespace millrace::transformation
