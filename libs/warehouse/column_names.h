#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace millrace::warehouse {

/// How a warehouse wants its names.
struct NameRules {
  size_t max_bytes = 63;
  bool divide_numbers = false;  // "v2" becomes "v_2"
  /// True for words that the warehouse reserves; asked with lower-case names.
  bool (*reserved)(std::string_view name) = nullptr;
};

/// `key` in snake case, letters and digits of ASCII only, its leading underscores kept; a name that
/// starts with a digit gets an underscore. Empty when nothing is left of it. Neither cut nor
/// escaped.
std::string SnakeCase(std::string_view key, bool divide_numbers);

/// The column for the flattened key `path` ("context_traits_email"): snake case, reserved words
/// with an underscore before them, cut to the warehouse's limit. Empty when no name can be made of
/// it.
std::string ColumnName(std::string_view path, const NameRules& rules);

/// The table for the event name in snake case `event`: as for columns; the names of the tables that
/// Millrace makes itself are escaped too, unless `skip_escaping`.
std::string TableName(std::string_view event, const NameRules& rules, bool skip_escaping);

}  // namespace millrace::warehouse
