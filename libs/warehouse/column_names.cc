#include "libs/warehouse/column_names.h"

#include <algorithm>
#include <array>

namespace millrace::warehouse {
namespace {

enum class Kind { kUpper, kLower, kDigit, kOther };

Kind KindOf(char c) {
  if (c >= 'a' && c <= 'z') return Kind::kLower;
  if (c >= 'A' && c <= 'Z') return Kind::kUpper;
  if (c >= '0' && c <= '9') return Kind::kDigit;
  return Kind::kOther;
}

/// Whether a new word begins at `at`, both it and the character before being letters or digits.
bool WordBegins(std::string_view key, size_t at, bool divide_numbers) {
  const Kind before = KindOf(key[at - 1]);
  const Kind now = KindOf(key[at]);
  if (divide_numbers && (before == Kind::kDigit) != (now == Kind::kDigit)) return true;
  if (now != Kind::kUpper) return false;
  if (before != Kind::kUpper) return true;
  // The last capital of a run begins the next word: "HTTPServer" is http_server.
  return at + 1 < key.size() && KindOf(key[at + 1]) == Kind::kLower;
}

constexpr std::array<std::string_view, 10> kOwnTables = {
    "accounts", "aliases", "groups", "identifies",      "millrace_loads",
    "pages",    "screens", "tracks", "rudder_discards", "users"};

std::string Escape(std::string name, const NameRules& rules, bool reserved) {
  if (reserved) name.insert(name.begin(), '_');
  if (name.size() > rules.max_bytes) name.resize(rules.max_bytes);
  return name;
}

}  // namespace

std::string SnakeCase(std::string_view key, bool divide_numbers) {
  std::string name;
  name.reserve(key.size() + 8);
  size_t at = 0;
  while (at < key.size() && key[at] == '_') ++at;
  const size_t underscores = at;
  for (; at < key.size(); ++at) {
    const Kind kind = KindOf(key[at]);
    if (kind == Kind::kOther) continue;
    const bool joined = at > 0 && KindOf(key[at - 1]) != Kind::kOther;
    if (!name.empty() && (!joined || WordBegins(key, at, divide_numbers))) name.push_back('_');
    name.push_back(kind == Kind::kUpper ? static_cast<char>(key[at] + ('a' - 'A')) : key[at]);
  }
  if (name.empty()) return name;
  name.insert(0, underscores, '_');
  if (KindOf(name[0]) == Kind::kDigit) name.insert(name.begin(), '_');
  return name;
}

std::string ColumnName(std::string_view path, const NameRules& rules) {
  std::string name = SnakeCase(path, rules.divide_numbers);
  if (name.empty()) return name;
  const bool reserved = rules.reserved != nullptr && rules.reserved(name);
  return Escape(std::move(name), rules, reserved);
}

std::string TableName(std::string_view event, const NameRules& rules, bool skip_escaping) {
  if (event.empty()) return {};
  const bool reserved =
      !skip_escaping && ((rules.reserved != nullptr && rules.reserved(event)) ||
                         std::ranges::find(kOwnTables, event) != kOwnTables.end());
  return Escape(std::string(event), rules, reserved);
}

}  // namespace millrace::warehouse
