// What nobody sends by mistake: odd JSON by the table, strings that break things, and mutations at
// random.

#include <catch2/catch.hpp>
#include <simdjson.h>

#include <random>

#include "libs/event/event_fields.h"
#include "libs/event/repair.h"
#include "services/gateway/test_fixture.h"

using namespace millrace;
using namespace millrace::gateway::test;

namespace {

std::string TrackWith(std::string_view value) {
  return R"({"messageId":"m","userId":"u","type":"track","event":"E","timestamp":"t","properties":{"v":)" +
         std::string(value) + "}}";
}

bool IsJson(std::string_view text) {
  simdjson::dom::parser parser;
  return parser.parse(text.data(), text.size()).error() == simdjson::SUCCESS;
}

}  // namespace

TEST_CASE("JSON values: taken as they are, mended, or refused", "[gateway][hostile]") {
  using namespace std::string_literals;
  enum Verdict { kAsIs, kMended, kRefused };
  struct Case {
    const char* name;
    std::string value;
    Verdict verdict;
  };
  const auto c = GENERATE(values<Case>({
      {"empty object", "{}", kAsIs},
      {"empty array", "[]", kAsIs},
      {"white space", " [ 1 ,\t2\r\n ] ", kAsIs},
      {"duplicate keys", R"({"a":1,"a":2})", kAsIs},
      {"empty key", R"({"":0})", kAsIs},
      {"escaped key", R"({"\u0000\n":0})", kAsIs},
      {"__proto__", R"({"__proto__":{"polluted":1},"constructor":{"prototype":{}}})", kAsIs},
      {"all escapes", R"("\"\\\/\b\f\n\r\t\u00e9")", kAsIs},
      {"surrogate pair", R"("\ud83d\ude00")", kAsIs},
      {"noncharacter", R"("\uffff\ufdd0")", kAsIs},
      {"delete and U+2028", "\"\x7f\xe2\x80\xa8\"", kAsIs},
      {"4-byte UTF-8", "\"\xf0\x9f\x98\x80\"", kAsIs},
      {"literals", "[null,true,false]", kAsIs},
      {"2^53+1", "9007199254740993", kAsIs},
      {"2^63", "9223372036854775808", kAsIs},
      {"2^64-1", "18446744073709551615", kAsIs},
      {"-0", "-0", kAsIs},
      {"-0.0e-0", "-0.0e-0", kAsIs},
      {"1E400 below zero", "1e-400", kAsIs},
      {"exponent", "[1E+2,1e2,1.5e-3]", kAsIs},
      {"2^64", "18446744073709551616", kAsIs},
      {"30 digits", "123456789012345678901234567890", kAsIs},
      {"400 digits", std::string(400, '9'), kAsIs},
      {"1e400", "1e400", kMended},
      {"-1e400", "-1e400", kMended},
      {"lone high surrogate", R"("\ud800")", kMended},
      {"lone low surrogate", R"("\udc00")", kMended},
      {"surrogates swapped", R"("\udc00\ud800")", kMended},
      {"high surrogate, then text", R"("\ud800abc")", kMended},
      {"overlong slash", "\"\xc0\xaf\"", kMended},
      {"surrogate in UTF-8", "\"\xed\xa0\x80\"", kMended},
      {"beyond U+10FFFF", "\"\xf4\x90\x80\x80\"", kMended},
      {"cut-off sequence", "\"\xe2\x82\"", kMended},
      {"lone continuation", "\"\x80\"", kMended},
      {"0xff", "\"\xff\"", kMended},
      {"single quotes", "'a'", kRefused},
      {"no quotes", "a", kRefused},
      {"comment", "/**/1", kRefused},
      {"trailing comma in array", "[1,]", kRefused},
      {"trailing comma in object", R"({"a":1,})", kRefused},
      {"leading comma", "[,1]", kRefused},
      {"double comma", "[1,,2]", kRefused},
      {"colon for comma", "[1:2]", kRefused},
      {"missing colon", R"({"a" 1})", kRefused},
      {"two colons", R"({"a"::1})", kRefused},
      {"number as key", "{1:1}", kRefused},
      {"null as key", "{null:1}", kRefused},
      {"unclosed string", "\"a", kRefused},
      {"raw newline", "\"a\nb\"", kRefused},
      {"raw NUL", "\"a\0b\""s, kRefused},
      {"raw tab", "\"\t\"", kRefused},
      {"bad escape", R"("\x41")", kRefused},
      {"escaped quote only", R"("\")", kRefused},
      {"short \\u", R"("\u00")", kRefused},
      {"bad \\u", R"("\u00zz")", kRefused},
      {"short \\u after a surrogate", R"("\ud800\u")", kRefused},
      {"leading zero", "01", kRefused},
      {"-01", "-01", kRefused},
      {"plus", "+1", kRefused},
      {"no integer part", ".5", kRefused},
      {"no fraction", "1.", kRefused},
      {"no exponent", "1e", kRefused},
      {"sign without exponent", "1e+", kRefused},
      {"hex", "0x1F", kRefused},
      {"lone minus", "-", kRefused},
      {"NaN", "NaN", kRefused},
      {"Infinity", "Infinity", kRefused},
      {"-Infinity", "-Infinity", kRefused},
      {"1_000", "1_000", kRefused},
      {"full-width digit", "\xef\xbc\x91", kRefused},
      {"TRUE", "TRUE", kRefused},
      {"tru", "tru", kRefused},
      {"nul", "nul", kRefused},
      {"form feed as space", "[\f1]", kRefused},
      {"no-break space", "[\xc2\xa0]", kRefused},
      {"BOM inside", "\xef\xbb\xbf{}", kRefused},
      {"closed twice", "[]]", kRefused},
      {"closed otherwise", "[1}", kRefused},
      {"nothing", "", kRefused},
  }));
  CAPTURE(c.name);
  Fixture f;
  const std::string body = TrackWith(c.value);
  const auto response = f.Post("/v1/track", body);
  CHECK(response.status == (c.verdict == kRefused ? 400 : 200));
  const auto records = f.log.records();
  REQUIRE(records.size() == (c.verdict == kRefused ? 0u : 1u));
  if (c.verdict == kRefused) {
    // The same over gRPC, where each event stands alone: it costs only itself.
    std::vector<std::string_view> events = {body, R"({"type":"track","userId":"u","event":"E"})"};
    gateway::Gateway::Taken taken;
    f.gate->TakeEvents("key", events, "", [&](const Status& status, gateway::Gateway::Taken t) {
      CHECK(status.ok());
      taken = t;
    });
    CHECK(taken.accepted == 1);
    CHECK(taken.rejected == 1);
    return;
  }
  CHECK((records[0].value == body) == (c.verdict == kAsIs));
  CHECK((f.Meta(0).repairs() > 0) == (c.verdict == kMended));
  CHECK(event::Repair(records[0].value)->repairs == 0);
}

TEST_CASE("Strings that break things arrive as they were sent", "[gateway][hostile]") {
  using namespace std::string_literals;
  const std::vector<std::string> strings = {
      "",
      " ",
      "undefined",
      "null",
      "NULL",
      "true",
      "0",
      "-1",
      "1/0",
      "NaN",
      "Infinity",
      "0x0",
      "1e1000",
      "$HOME",
      "'; DROP TABLE tracks; --",
      "\"quoted\"",
      "a\\b",
      "../../etc/passwd",
      "%00%0a",
      "{{7*7}}",
      "${jndi:ldap://x/a}",
      "<script>alert(1)</script>",
      "<![CDATA[x]]>",
      "=1+1",
      "@SUM(1)",
      "`id`",
      "$(id)",
      "%s%n%x",
      "\t\r\n",
      "\x01\x02\x1f",
      "\x7f",
      "zero\0byte"s,
      "\u202e right to left",
      "\ufeffBOM",
      "Z\u0351\u036ba\u0300lgo",
      "\U0001f469\u200d\U0001f52c",
      "\u2028\u2029",
      "ﷺ",
      "İıſK",
      "ß",
      "田中さん",
      "הַיְתָה",
      "__proto__",
      "constructor",
      "toString",
      std::string(4000, 'x'),
  };
  Fixture f;
  std::string batch;
  for (const std::string& text : strings) {
    if (!batch.empty()) batch += ',';
    const std::string quoted = event::QuoteJson(text);
    batch += R"({"type":"track","anonymousId":"a","timestamp":"t","userId":)" + quoted +
             R"(,"messageId":)" + quoted + R"(,"event":)" + quoted + R"(,"properties":{)" + quoted +
             ":" + quoted + "}}";
  }
  REQUIRE(f.Post("/v1/batch", R"({"batch":[)" + batch + "]}").status == 200);
  const auto records = f.log.records();
  REQUIRE(records.size() == strings.size());
  for (size_t i = 0; i < strings.size(); ++i) {
    CAPTURE(strings[i]);
    const auto meta = f.Meta(i);
    CHECK(meta.rejected_reason().empty());
    CHECK(meta.user_id() == strings[i]);
    if (!strings[i].empty()) CHECK(meta.message_id() == strings[i]);
    simdjson::dom::parser parser;
    simdjson::dom::element event;
    REQUIRE(parser.parse(records[i].value).get(event) == simdjson::SUCCESS);
    CHECK(std::string_view(event["event"]) == strings[i]);
    simdjson::dom::object properties = event["properties"];
    CHECK((*properties.begin()).key == strings[i]);
    CHECK(std::string_view((*properties.begin()).value) == strings[i]);
  }
}

TEST_CASE("Depth and breadth cost the event, not the process", "[gateway][hostile]") {
  Fixture f;
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  const std::string good = R"({"type":"track","userId":"u","messageId":"good","event":"E"})";
  CHECK(f.Post("/v1/track", TrackWith(nested(100))).status == 200);
  CHECK(f.Post("/v1/track", TrackWith(nested(1000))).status == 400);
  CHECK(f.Post("/v1/track", TrackWith(nested(100'000))).status == 400);
  CHECK(f.Post("/v1/track", TrackWith(std::string(800'000, '['))).status == 400);
  CHECK(f.Post("/v1/batch", R"({"batch":[)" + TrackWith(nested(1000)) + "," + good + "]}").status ==
        200);
  CHECK(f.Meta(1).rejected_reason() == "event is nested deeper than 128");
  CHECK(f.Meta(2).rejected_reason().empty());
  std::string keys;
  for (int i = 0; i < 9'900; ++i) keys += (i > 0 ? ",\"k" : "\"k") + std::to_string(i) + "\":1";
  CHECK(f.Post("/v1/track", TrackWith("{" + keys + "}")).status == 200);
  CHECK(f.Post("/v1/track", TrackWith("{\"" + std::string(800'000, 'k') + "\":1}")).status == 200);
}

TEST_CASE("Bodies at random: an answer, and nothing but JSON in the log",
          "[gateway][hostile][fuzz]") {
  const std::vector<std::string> seeds = {
      R"({"batch":[{"messageId":"m1","userId":"u","type":"track","event":"E","timestamp":"2026-01-01T00:00:00Z"},)"
      R"({"anonymousId":null,"userId":"\u00e9","type":"identify","traits":{"a":[1,2.5e3,{"b":"\ud83d\ude00"}]}}],)"
      R"("sentAt":"2026-01-01T00:00:00Z","writeKey":"key"})",
      TrackWith(R"({"a":[[],{},[{"b":null}]],"c":-0.1e-2,"d":"\\\"\n"})"),
      R"({"type":"page","name":"x","userId":17,"messageId":"m","properties":{"u":"\ud800","n":1e999}})",
  };
  const std::vector<std::string> pieces = {"{",
                                           "}",
                                           "[",
                                           "]",
                                           ",",
                                           ":",
                                           "\"",
                                           "\\",
                                           "\\u",
                                           "\\ud800",
                                           "null",
                                           "1e999",
                                           "-",
                                           "\xff",
                                           "\xe2\x82",
                                           std::string(1, '\0'),
                                           "\"batch\":",
                                           "\"userId\":",
                                           "/*",
                                           " ",
                                           "\n",
                                           "\"type\":\"track\"",
                                           std::string(300, '[')};
  std::mt19937 random(20261125);  // fixed: a failure comes again
  Fixture f;
  size_t seen = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string body = seeds[random() % seeds.size()];
    for (uint32_t mutations = 1 + random() % 4; mutations > 0; --mutations) {
      const size_t at = body.empty() ? 0 : random() % body.size();
      switch (random() % 5) {
        case 0:
          body.insert(at, pieces[random() % pieces.size()]);
          break;
        case 1:
          body.erase(at, 1 + random() % 8);
          break;
        case 2:
          if (!body.empty()) body[at] = static_cast<char>(random());
          break;
        case 3:
          body.insert(at, body.substr(random() % (body.size() + 1), random() % 40));
          break;
        default:
          body.resize(at);
      }
    }
    const bool batch = random() % 2 == 0;
    const auto response = f.Post(batch ? "/v1/batch" : "/v1/track", body);
    CAPTURE(round, body);
    if (response.status != 200 && response.status != 400 && response.status != 413)
      FAIL(response.status);
    if (f.log.records().size() == seen) continue;
    const auto records = f.log.records();
    for (; seen < records.size(); ++seen) {
      const auto meta = f.Meta(seen);
      if (!meta.rejected_reason().empty()) continue;
      // simdjson knows no integers beyond 64 bits; all else it takes.
      if (!IsJson(records[seen].value) && !event::Repair(records[seen].value).ok())
        FAIL(records[seen].value);
      if (event::Repair(records[seen].value)->repairs != 0) FAIL(records[seen].value);
      if (meta.user_id().empty() && meta.anonymous_id().empty()) FAIL(records[seen].value);
    }
    if (seen > 500) {  // the log in memory grows no further
      f.log.Clear();
      seen = 0;
    }
  }
}
