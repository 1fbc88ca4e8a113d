#include "libs/event/repair.h"

#include <catch2/catch.hpp>

using namespace millrace;
using namespace millrace::event;

TEST_CASE("Repair mends what it may and leaves the rest", "[repair]") {
  struct Case {
    std::string json;
    std::string result;
    uint32_t repairs;
  };
  const auto c = GENERATE(values<Case>({
      {R"( {"a" : [1, -0.5e-3, true, null, "x"] } )", R"( {"a" : [1, -0.5e-3, true, null, "x"] } )",
       0},
      {R"(["\ud800"])", R"(["\ufffd"])", 1},
      {R"(["\ud83d\ude00"])", R"(["\ud83d\ude00"])", 0},
      {R"(["\ude00\ud83d"])", R"(["\ufffd\ufffd"])", 2},
      {R"(["\ud83d\ud83d\ude00"])", R"(["\ufffd\ud83d\ude00"])", 1},
      {"[\"a\xff\"]", "[\"a\xef\xbf\xbd\"]", 1},
      {"[\"\xc0\x80\"]", "[\"\xef\xbf\xbd\xef\xbf\xbd\"]", 2},
      {"[\"\xed\xa0\x80\"]", "[\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"]", 3},
      {"{\"k\xff\":1}", "{\"k\xef\xbf\xbd\":1}", 1},
      {"[\"é€😀\"]", "[\"é€😀\"]", 0},
      {"[1e400,-1e400,1e-400,1e308]", R"(["1e400","-1e400",1e-400,1e308])", 2},
      {"[123456789012345678901234567890]", "[123456789012345678901234567890]", 0},
      {"-18446744073709551617", "-18446744073709551617", 0},
  }));
  CAPTURE(c.json);
  const auto repaired = Repair(c.json);
  REQUIRE(repaired.ok());
  CHECK(repaired->json == c.result);
  CHECK(repaired->repairs == c.repairs);
}

TEST_CASE("Repair refuses what is no JSON", "[repair]") {
  const auto json = GENERATE(
      as<std::string>{}, "", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "{'a':1}", "[01]", "[1.]",
      "[.5]", "[+1]", "[1e]", "[-]", "NaN", "[Infinity]", "[\"\\x\"]", "[\"\\u12g4\"]",
      "[\"\\u12\"]", "[\"a\nb\"]", "\"a", "[1] 2", "tru", "[\xff]", "{\"a\" 1}", "{1:1}", "[1 2]",
      "\"\\", "{\"a\":1]", std::string("[1]\0", 4), std::string("[\"\0\"]", 5));
  CAPTURE(json);
  CHECK(Repair(json).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("Repair has a limit of depth", "[repair]") {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  CHECK(Repair(nested(kMaxDepth)).ok());
  CHECK(Repair(nested(kMaxDepth + 1)).status().code() == StatusCode::kOutOfRange);
  CHECK(Repair(std::string(1'000'000, '[')).status().code() == StatusCode::kOutOfRange);
}

TEST_CASE("RepairUtf8 replaces what is no UTF-8, byte by byte", "[repair]") {
  CHECK(RepairUtf8("").empty());
  CHECK(RepairUtf8("a\xc3\xa9\xf0\x9f\x98\x80") == "a\xc3\xa9\xf0\x9f\x98\x80");
  CHECK(RepairUtf8("a\xffz\xc3") == "a\xef\xbf\xbdz\xef\xbf\xbd");
  CHECK(RepairUtf8("\xed\xa0\x80z") == "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz");
}
