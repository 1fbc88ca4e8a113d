#include "libs/warehouse/rows.h"

#include <catch2/catch.hpp>

#include <map>
#include <string>

namespace millrace::warehouse {
namespace {

using Cells = std::map<std::string, std::string>;
using Tables = std::map<std::string, Cells>;

/// Every table with its cells as "type:text"; what every event has is left out.
Tables Build(const RowOptions& options, std::string_view json, std::string* error = nullptr) {
  RowBuilder builder(options);
  const EventRows built = builder.Build({.json = json,
                                         .source_id = "src",
                                         .message_id = "fallback",
                                         .received_at = "2026-01-01T00:00:00.000Z"});
  if (error != nullptr) *error = built.error;
  Tables tables;
  for (const Row& row : built.rows) {
    Cells& cells = tables[std::string(row.table)];
    for (const Cell& cell : row.cells) {
      if (cell.column == "received_at" || cell.column.starts_with("context_source") ||
          cell.column.starts_with("context_destination")) {
        continue;
      }
      cells[std::string(cell.column)] =
          std::string(TypeName(cell.type)) + ":" + std::string(cell.text);
    }
    for (const Discard& discard : row.discards) {
      cells["discarded " + std::string(discard.column)] = std::string(discard.text);
    }
  }
  return tables;
}

TEST_CASE("a track event is a row of tracks and one of its own table", "[rows]") {
  const Tables tables =
      Build({}, R"({"type":"track","event":"Order Done","messageId":"m1","userId":"u1",
      "properties":{"total":12.5,"items":[{"sku":"a"}, 2],"n":3.0,"ok":true,"at":"2026-01-02T03:04:05Z",
                    "address":{"City Name":"Ulm","none":null,"empty":"","list":[]},"id":"mine"},
      "context":{"ip":"1.2.3.4","app":{"name":"shop"}},"request_ip":"9.9.9.9"})");
  const Cells common = {{"id", "string:m1"},
                        {"user_id", "string:u1"},
                        {"event", "string:order_done"},
                        {"event_text", "string:Order Done"},
                        {"context_ip", "string:1.2.3.4"},
                        {"context_passed_ip", "string:1.2.3.4"},
                        {"context_request_ip", "string:9.9.9.9"},
                        {"context_app_name", "string:shop"}};
  Cells own = common;
  own.insert({{"total", "float:12.5"},
              {"items", R"(string:[{"sku":"a"},2])"},
              {"n", "int:3"},
              {"ok", "boolean:true"},
              {"at", "datetime:2026-01-02T03:04:05Z"},
              {"address_city_name", "string:Ulm"}});
  CHECK(tables == Tables{{"tracks", common}, {"order_done", own}});
}

TEST_CASE("identify is a row of identifies and of users", "[rows]") {
  const std::string_view json =
      R"({"type":"identify","messageId":"m","userId":"u","anonymousId":"a",
      "traits":{"plan":"pro","user_id":"forged"},"context":{"traits":{"age":5}}})";
  CHECK(Build({}, json) ==
        Tables{{"identifies",
                {{"id", "string:m"},
                 {"user_id", "string:u"},
                 {"anonymous_id", "string:a"},
                 {"plan", "string:pro"},
                 {"context_traits_age", "int:5"}}},
               {"users",
                {{"id", "string:u"}, {"plan", "string:pro"}, {"context_traits_age", "int:5"}}}});
  CHECK(Build({.users_context_traits = true}, json)["users"].contains("age"));
  CHECK_FALSE(Build({.skip_users_table = true}, json).contains("users"));
  CHECK_FALSE(
      Build({}, R"({"type":"identify","messageId":"m","anonymousId":"a"})").contains("users"));
}

TEST_CASE("the other event types have a table each", "[rows]") {
  struct Case {
    const char* json;
    const char* table;
    const char* column;
    const char* value;
  };
  const auto c = GENERATE(values<Case>({
      {R"({"type":"page","name":"Home"})", "pages", "name", "string:Home"},
      {R"({"type":"page","properties":{"name":"Home"}})", "pages", "name", "string:Home"},
      {R"({"type":"screen","name":"Main"})", "screens", "name", "string:Main"},
      {R"({"type":"group","groupId":"g","traits":{"size":3}})", "groups", "group_id", "string:g"},
      {R"({"type":"alias","previousId":"p"})", "aliases", "previous_id", "string:p"},
  }));
  CAPTURE(c.json);
  const Tables tables = Build({}, c.json);
  REQUIRE(tables.size() == 1);
  CHECK(tables.begin()->first == c.table);
  CHECK(tables.begin()->second.at(c.column) == c.value);
  CHECK(tables.begin()->second.at("id") == "string:fallback");
}

TEST_CASE("JSON paths become one column", "[rows]") {
  const std::string_view json =
      R"({"type":"track","event":"e","properties":{"cart":{"a":{"b":1}}},"context":{"cart":{"c":1}}})";
  CHECK(Build({.json_paths = {"track.properties.cart"}}, json)["e"]["cart"] ==
        R"(json:{"a":{"b":1}})");
  CHECK(Build({.json_paths = {"cart.a"}}, json)["e"]["cart_a"] == R"(json:{"b":1})");
  CHECK(Build({.json_paths = {"cart"}}, json)["e"]["context_cart_c"] == "int:1");
}

TEST_CASE("hostile values cost nothing but themselves", "[rows]") {
  Tables tables = Build({}, R"({"type":"track","event":"e","messageId":"m",
      "properties":{"nul":"a\u0000b","lone":"\ud800x","huge":123456789012345678901234567890,
                    "big":18446744073709551615,"🎉":"party","list":["\u0000"]}})");
  Cells& cells = tables["e"];
  CHECK(cells["nul"] == "string:ab");
  CHECK(cells["lone"] == "string:\xEF\xBF\xBDx");
  CHECK(cells["huge"] == "string:123456789012345678901234567890");
  CHECK(cells["big"] == "float:18446744073709551615");
  CHECK(cells["list"] == R"(string:[""])");
  CHECK(cells["discarded 🎉"] == "party");
}

TEST_CASE("events that can never be loaded say why", "[rows]") {
  struct Case {
    std::string json;
    std::string error;
  };
  std::string many = R"({"type":"track","event":"e","properties":{)";
  for (int i = 0; i < 201; ++i) many += "\"k" + std::to_string(i) + "\":1,";
  many.back() = '}';
  const auto c = GENERATE_COPY(values<Case>({
      {"[1]", "the event is not a JSON object"},
      {"{oops", "the event is no JSON"},
      {R"({"type":"dance"})", "unknown event type \"dance\""},
      {R"({"type":5})", "unknown event type \"\""},
      {many + "}", "the event makes 201 columns of one object, the limit is 200"},
  }));
  CAPTURE(c.json);
  std::string error;
  CHECK(Build({}, c.json, &error).empty());
  CHECK(error.starts_with(c.error));
}

TEST_CASE("the full event is JSON whatever its names and its source are", "[rows]") {
  struct Case {
    const char* event;
    const char* full;
  };
  const auto c = GENERATE(values<Case>({
      {R"({"type":"track","event":"e","n":1})",
       R"({"type":"track","event":"e","n":1,"context":{"sourceId":"src","sourceType":"we\"b"}})"},
      {R"({"type":"track","event":"e","context":{"ip":"1"},"n":1})",
       R"({"type":"track","event":"e","n":1,"context":{"ip":"1","sourceId":"src","sourceType":"we\"b"}})"},
      // A name that would end its text, and one that would add a member.
      {R"({"type":"track","event":"e","we\"ird\\key":1,"a\":0,\"forged":2})",
       R"({"type":"track","event":"e","we\"ird\\key":1,"a\":0,\"forged":2,"context":{"sourceId":"src","sourceType":"we\"b"}})"},
      {R"({"type":"track","event":"e","context":{"a\"b\n":1}})",
       R"({"type":"track","event":"e","context":{"a\"b\n":1,"sourceId":"src","sourceType":"we\"b"}})"},
      // What the sender calls by our names gives way, and so does a context that is no object.
      {R"({"type":"track","event":"e","context":{"sourceId":"forged"}})",
       R"({"type":"track","event":"e","context":{"sourceId":"src","sourceType":"we\"b"}})"},
      {R"({"type":"track","event":"e","context":"none"})",
       R"({"type":"track","event":"e","context":{"sourceId":"src","sourceType":"we\"b"}})"},
      // No warehouse stores NUL, in names neither.
      {R"({"type":"track","event":"e","k\u0000ey":"v\u0000"})",
       R"({"type":"track","event":"e","key":"v","context":{"sourceId":"src","sourceType":"we\"b"}})"},
  }));
  CAPTURE(c.event);
  RowBuilder builder({.store_full_event = true});
  const EventRows built =
      builder.Build({.json = c.event, .source_id = "src", .source_type = "we\"b"});
  REQUIRE(built.error.empty());
  std::string full;
  for (const Cell& cell : built.rows[0].cells) {
    if (cell.column == "rudder_event") full = cell.text;
  }
  CHECK(full == c.full);
}

TEST_CASE("options of the event itself go before the destination's", "[rows]") {
  const RowOptions options{.destination_type = "POSTGRES"};
  const Tables tables = Build(options, R"({"type":"track","event":"tracks","integrations":
      {"POSTGRES":{"options":{"skipTracksTable":true,"skipReservedKeywordsEscaping":true}}}})");
  CHECK(tables.size() == 1);
  CHECK(tables.contains("tracks"));
  CHECK(Build(options, R"({"type":"track","event":"tracks"})").contains("_tracks"));
}

}  // namespace
}  // namespace millrace::warehouse
