#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace millrace::warehouse {

/// Types of columns, the same for all warehouses; a Dialect gives each its SQL name.
enum class DataType : uint8_t { kString, kInt, kFloat, kBoolean, kDatetime, kJson, kUnsupported };

/// One value of a row. `text` is the value in plain form: digits, "true" or "false", JSON, a time
/// as ISO 8601 as the event has it, or the string itself.
struct Cell {
  std::string_view column;
  std::string_view text;
  DataType type = DataType::kString;
};

/// A value that cannot be stored, and why.
struct Discard {
  std::string_view column;
  std::string_view text;
  std::string_view reason;
};

/// One row. Its views live as long as its maker says.
struct Row {
  std::string_view table;
  std::vector<Cell> cells;
  std::vector<Discard> discards;
};

/// "string", "int", ... as messages and discards name them.
std::string_view TypeName(DataType type);

}  // namespace millrace::warehouse
