#include "libs/event/event_fields.h"

#include <catch2/catch.hpp>

#include "libs/event/scan.h"

using namespace millrace;
using namespace millrace::event;

TEST_CASE("ScanFields finds the raw top-level fields", "[event]") {
  const std::string json =
      R"( {"type":"track", "userId" : "u\"1","context":{"type":"inner","a":["}",{"b":"]"}]},)"
      R"("properties":{},"messageId":"m1","anonymousId":null,"event":"A \\","timestamp":"t",)"
      R"("originalTimestamp":"o","sentAt":"s","receivedAt":"r","request_ip":"1.2.3.4",)"
      R"("integrations":{"All":true},"traits":{"x":1},"groupId":17,"previousId":"p","channel":"web",)"
      R"("name":"n","writeKey":"wk","unknown":[1,2,{"userId":"no"}]} )";
  EventFields fields;
  REQUIRE(ScanFields(json, &fields).ok());
  CHECK(fields.type == R"("track")");
  CHECK(fields.user_id == R"("u\"1")");
  CHECK(fields.context == R"({"type":"inner","a":["}",{"b":"]"}]})");
  CHECK(fields.properties == "{}");
  CHECK(fields.message_id == R"("m1")");
  CHECK(fields.anonymous_id == "null");
  CHECK(fields.event == R"("A \\")");
  CHECK(fields.timestamp == R"("t")");
  CHECK(fields.original_timestamp == R"("o")");
  CHECK(fields.sent_at == R"("s")");
  CHECK(fields.received_at == R"("r")");
  CHECK(fields.request_ip == R"("1.2.3.4")");
  CHECK(fields.integrations == R"({"All":true})");
  CHECK(fields.traits == R"({"x":1})");
  CHECK(fields.group_id == "17");
  CHECK(fields.previous_id == R"("p")");
  CHECK(fields.channel == R"("web")");
  CHECK(fields.name == R"("n")");
  CHECK(fields.write_key == R"("wk")");
}

TEST_CASE("ScanFields takes the last of a doubled key, however it is spelt", "[event]") {
  EventFields fields;
  REQUIRE(ScanFields(R"({"userId":"a","user\u0049d":"b"})", &fields).ok());
  CHECK(fields.user_id == R"("b")");
}

TEST_CASE("ScanFields refuses what is no object and stays within bounds", "[event]") {
  const auto json = GENERATE(as<std::string>{}, "", " ", "[]", "1", "\"{}\"", "{", "{\"a", "{\"a\"",
                             "{\"a\":", "{\"a\":{", "{\"a\":1", "{\"a\":1}}", "{\"a\":\"\\", "{,}",
                             "{} x", "{\"a\":1,}", "{1:2}");
  CAPTURE(json);
  EventFields fields;
  CHECK_FALSE(ScanFields(json, &fields).ok());
}

TEST_CASE("ScanObject measures the depth", "[event]") {
  struct Case {
    std::string json;
    int depth;
  };
  const auto c = GENERATE(values<Case>({{"{}", 1},
                                        {R"({"a":1})", 1},
                                        {R"({"a":[]})", 2},
                                        {R"({"a":[{"b":{}}],"c":2})", 4},
                                        {R"({"a":"[[[["})", 1}}));
  CAPTURE(c.json);
  EventFields fields;
  int depth = 0;
  const char* const end = c.json.data() + c.json.size();
  CHECK(scan::ScanObject(c.json.data(), end, &fields, &depth) == end);
  CHECK(depth == c.depth);
}

TEST_CASE("DecodeText and QuoteJson", "[event]") {
  struct Case {
    std::string raw;
    std::string text;
  };
  const auto c = GENERATE(values<Case>({{"", ""},
                                        {"null", ""},
                                        {"true", ""},
                                        {"{}", ""},
                                        {"42", "42"},
                                        {"-1.5", "-1.5"},
                                        {R"("plain")", "plain"},
                                        {R"("a\"\\\/\n\t\r\b\f")", "a\"\\/\n\t\r\b\f"},
                                        {R"("\u00e9\u20ac")", "é€"},
                                        {R"("\ud83d\ude00!")", "😀!"},
                                        {R"("\ud83dx")", "\xef\xbf\xbdx"},
                                        {R"("\ude00")", "\xef\xbf\xbd"}}));
  CAPTURE(c.raw);
  CHECK(DecodeText(c.raw) == c.text);
  CHECK(DecodeText(QuoteJson(c.text)) == c.text);
}

TEST_CASE("SetFields replaces, adds and removes, and leaves other bytes alone", "[event]") {
  struct Case {
    std::string json;
    std::vector<std::pair<std::string_view, std::string>> values;
    std::string result;
  };
  const auto c = GENERATE(values<Case>({
      {R"({"a":1,"b":2})", {{"c", "3"}}, R"({"c":3,"a":1,"b":2})"},
      {R"({})", {{"c", "3"}}, R"({"c":3})"},
      {R"({"a":1.50,"b":1e400})", {{"a", "\"x\""}}, R"({"a":"x","b":1e400})"},
      {R"({"a":1,"b":2})", {{"a", ""}}, R"({"b":2})"},
      {R"({"a":1,"b":2})", {{"b", ""}}, R"({"a":1})"},
      {R"({"a":1})", {{"b", ""}}, R"({"a":1})"},
      {R"({"a":1,"b":2,"a":3})", {{"a", "9"}}, R"({"b":2,"a":9})"},
      {R"({"n":{"a":1}})", {{"a", "2"}}, R"({"a":2,"n":{"a":1}})"},
  }));
  CAPTURE(c.json);
  CHECK(SetFields(c.json, c.values) == c.result);
}

TEST_CASE("Event types and user keys", "[event]") {
  for (int i = 1; i <= 8; ++i) {
    const auto type = static_cast<v1::EventType>(i);
    CHECK(ParseEventType(EventTypeName(type)) == type);
  }
  CHECK(ParseEventType("dance") == v1::EVENT_TYPE_UNSPECIFIED);
  CHECK(ParseEventType("") == v1::EVENT_TYPE_UNSPECIFIED);
  CHECK(UserKey("w", "u", "a") == UserKey("w", "u", "b"));
  CHECK(UserKey("w", "", "x") != UserKey("w", "x", ""));
  CHECK(UserKey("w", "u", "") != UserKey("v", "u", ""));
}
