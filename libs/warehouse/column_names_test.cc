#include "libs/warehouse/column_names.h"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

namespace millrace::warehouse {
namespace {

bool IsSelect(std::string_view name) {
  return name == "select";
}

TEST_CASE("keys become column names", "[names]") {
  struct Case {
    const char* key;
    const char* plain;
    const char* divided;
  };
  const auto c = GENERATE(values<Case>({
      {"email", "email", "email"},
      {"firstName", "first_name", "first_name"},
      {"HTTPServer", "http_server", "http_server"},
      {"Total Price ($)", "total_price", "total_price"},
      {"v2", "v2", "v_2"},
      {"int64Value", "int64_value", "int_64_value"},
      {"AES128", "aes128", "aes_128"},
      {"9lives", "_9lives", "_9_lives"},
      {"__private key", "__private_key", "__private_key"},
      {"a__-__b", "a_b", "a_b"},
      {"Größe", "gr_e", "gr_e"},
      {"select", "_select", "_select"},
      {"SELECT", "_select", "_select"},
      {"", "", ""},
      {"🎉", "", ""},
      {"___", "", ""},
      {"x\"; DROP TABLE users; --", "x_drop_table_users", "x_drop_table_users"},
  }));
  CAPTURE(c.key);
  CHECK(ColumnName(c.key, {.reserved = &IsSelect}) == c.plain);
  CHECK(ColumnName(c.key, {.divide_numbers = true, .reserved = &IsSelect}) == c.divided);
}

TEST_CASE("names are cut to the warehouse's limit", "[names]") {
  CHECK(ColumnName(std::string(64, 'a'), {}) == std::string(63, 'a'));
  CHECK(ColumnName("1" + std::string(63, 'a'), {}) == "_1" + std::string(61, 'a'));
  CHECK(TableName(std::string(64, 'a'), {}, false) == std::string(63, 'a'));
}

TEST_CASE("an event never writes to Millrace's own tables", "[names]") {
  for (const char* name : {"tracks", "users", "rudder_discards", "millrace_loads", "accounts"}) {
    CHECK(TableName(name, {}, false) == "_" + std::string(name));
    CHECK(TableName(name, {}, true) == name);
  }
  CHECK(TableName("order_completed", {}, false) == "order_completed");
  CHECK(TableName("", {}, false).empty());
}

}  // namespace
}  // namespace millrace::warehouse
