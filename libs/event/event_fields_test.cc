#include "libs/event/event_fields.h"

#include <catch2/catch.hpp>

namespace millrace::event {

TEST_CASE("ScanFields finds the top-level fields, last of a double key", "[event]") {
  EventFields fields;
  REQUIRE(ScanFields(R"( { "type" : "track" , "x":{"type":"page","a":[1,"]}\"",{}]}, "userId":7,
     "messageId":"m\"1","integrations":{"All":true},"t\u0079pe":"group","traits":null,"context":{}} )",
                     &fields)
              .ok());
  CHECK(fields.type == "\"group\"");
  CHECK(DecodeText(fields.user_id) == "7");
  CHECK(DecodeText(fields.message_id) == "m\"1");
  CHECK(fields.integrations == R"({"All":true})");
  CHECK(fields.traits == "null");
  CHECK(fields.context == "{}");
  CHECK(fields.anonymous_id.empty());
  CHECK(ScanFields("{}", &fields).ok());
  CHECK_FALSE(ScanFields("[]", &fields).ok());
  CHECK_FALSE(ScanFields("", &fields).ok());
  CHECK_FALSE(ScanFields(R"({"a)", &fields).ok());
}

TEST_CASE("DecodeText resolves escapes", "[event]") {
  CHECK(DecodeText(R"("a\n\t\\\/\"")") == "a\n\t\\/\"");
  CHECK(DecodeText(R"("\u00e9\ud83d\ude00")") == "\xc3\xa9\xf0\x9f\x98\x80");
  CHECK(DecodeText(R"("\ud83dx")") == "\xef\xbf\xbdx");
  CHECK(DecodeText("null").empty());
  CHECK(DecodeText("-12.5") == "-12.5");
  CHECK(DecodeText(QuoteJson("a\"\\\x01\n")) == "a\"\\\x01\n");
}

TEST_CASE("SetFields splices and leaves the other bytes alone", "[event]") {
  struct Case { const char* in; const char* out; };
  const auto c = GENERATE(values<Case>({
      {"{}", R"({"a":1,"b":"x"})"},
      {R"({ "c" : [1, 2] , "d":1.50 })", R"({"a":1,"b":"x","c" : [1, 2] , "d":1.50})"},
      {R"({"a":5})", R"({"a":1,"b":"x"})"},
      {R"({"c":1,"a":5,"d":{"a":2},"a":6})", R"({"a":1,"b":"x","c":1,"d":{"a":2}})"},
      {R"({"b":null,"gone":1,"z":true})", R"({"a":1,"b":"x","z":true})"},
  }));
  CHECK(SetFields(c.in, {{"a", "1"}, {"b", "\"x\""}, {"gone", ""}}) == c.out);
}

TEST_CASE("event types by name, both ways", "[event]") {
  for (const char* name : {"track", "identify", "page", "screen", "group", "alias", "merge", "record"}) {
    CHECK(EventTypeName(ParseEventType(name)) == name);
  }
  CHECK(ParseEventType("dance") == v1::EVENT_TYPE_UNSPECIFIED);
  CHECK(UserKey("w", "u", "a") == "w/u");
  CHECK(UserKey("w", "", "a") == "w/a");
}

}  // namespace millrace::event
