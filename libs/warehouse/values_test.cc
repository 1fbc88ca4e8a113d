#include "libs/warehouse/values.h"

#include <catch2/catch.hpp>

namespace millrace::warehouse {
namespace {

TEST_CASE("dates and times are told from other text", "[values]") {
  struct Case {
    const char* text;
    bool is;
  };
  const auto c = GENERATE(values<Case>({
      {"2026-01-02", true},
      {"2026-01-02T03:04", true},
      {"2026-01-02 03:04:05", true},
      {"2026-01-02T03:04:05.123456789Z", true},
      {"2026-01-02T03:04:05+05:30", true},
      {"2026-01-02T03:04:05-0800", true},
      {"2026-01-02T03:04:05+05", true},
      {"2024-02-29", true},
      {"2026-02-29", false},
      {"2026-13-01", false},
      {"0000-01-01", false},
      {"2026-01-02T", false},
      {"2026-01-02T24:00:00", false},
      {"2026-01-02T03:04:60Z", false},
      {"2026-01-02T03:04:05+16:00", false},
      {"2026-01-02T03:04:05Zx", false},
      {"2026-01", false},
      {"1767322800000", false},
      {"2026/01/02", false},
      {"infinity", false},
      {"", false},
  }));
  CAPTURE(c.text);
  CHECK(IsDatetime(c.text) == c.is);
}

TEST_CASE("what fits a column of which type", "[values]") {
  CHECK(Fits(DataType::kInt, DataType::kFloat));
  CHECK_FALSE(Fits(DataType::kFloat, DataType::kInt));
  CHECK(Fits(DataType::kDatetime, DataType::kString));
  CHECK_FALSE(Fits(DataType::kString, DataType::kDatetime));
  CHECK(Fits(DataType::kString, DataType::kJson));
  CHECK_FALSE(Fits(DataType::kBoolean, DataType::kInt));
  CHECK_FALSE(Fits(DataType::kString, DataType::kUnsupported));
}

TEST_CASE("text of COPY is escaped, NUL left out", "[values]") {
  std::string out;
  AppendCopyText(std::string_view("a\tb\nc\rd\\e\\.\0f\xC3\xA9", 16), &out);
  CHECK(out == "a\\tb\\nc\\rd\\\\e\\\\.f\xC3\xA9");
}

TEST_CASE("escaped NUL is taken out of JSON, an escaped backslash before u0000 stays", "[values]") {
  CHECK(WithoutEscapedNul(R"({"a":"x\u0000y\\u0000"})") == R"({"a":"xy\\u0000"})");
}

}  // namespace
}  // namespace millrace::warehouse
