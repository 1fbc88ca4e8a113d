#include "libs/warehouse/flatten.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <utility>

#include "libs/warehouse/values.h"

namespace millrace::warehouse {
namespace {

constexpr size_t kMaxCachedPaths = 100'000;
constexpr double kLargestExactInt = 9007199254740992.0;  // 2^53

/// Walks one object; the two paths grow and shrink with the depth.
class Walk {
 public:
  Walk(const FlattenRules& rules, ColumnCache& columns, Arena& arena, CellSet& cells,
       std::vector<Discard>& discards)
      : rules_(rules), columns_(columns), arena_(arena), cells_(cells), discards_(discards) {}

  void Object(simdjson::dom::object object, std::string* prefix, std::string* path, int level) {
    const size_t prefix_size = prefix->size();
    const size_t path_size = path->size();
    for (const auto field : object) {
      prefix->append(field.key);
      if (rules_.json_paths != nullptr) path->append(".").append(field.key);
      Field(field.value, prefix, path, level);
      prefix->resize(prefix_size);
      path->resize(path_size);
    }
  }

 private:
  void Field(simdjson::dom::element value, std::string* prefix, std::string* path, int level) {
    if (value.is_null()) return;
    if (rules_.json_paths != nullptr &&
        std::ranges::find(*rules_.json_paths, *path) != rules_.json_paths->end()) {
      return Set(*prefix, DataType::kJson, JsonText(value, arena_));
    }
    if (value.is_object()) {
      const simdjson::dom::object nested = value.get_object().value_unsafe();
      std::string spread;
      if (*prefix == "context_traits" && IsSpreadText(nested, &spread)) {
        return Set(*prefix, DataType::kString, arena_.Keep(std::move(spread)));
      }
      if (level >= rules_.max_level) {
        if (nested.size() > 0) Set(*prefix, DataType::kString, JsonText(value, arena_));
        return;
      }
      prefix->push_back('_');
      return Object(nested, prefix, path, level + 1);
    }
    DataType type{};
    std::string_view text;
    if (ReadValue(value, arena_, &type, &text)) Set(*prefix, type, text);
  }

  void Set(const std::string& prefix, DataType type, std::string_view text) {
    Column* column = columns_.ForPath(prefix, rules_.skip_escaping);
    if (column == nullptr) {
      discards_.push_back({arena_.Keep(prefix), text, "the key has no letter or digit of ASCII"});
      return;
    }
    cells_.Set(column, type, text);
  }

  const FlattenRules& rules_;
  ColumnCache& columns_;
  Arena& arena_;
  CellSet& cells_;
  std::vector<Discard>& discards_;
};

std::string_view KeepInt(int64_t number, Arena& arena) {
  return arena.Keep(fmt::format(FMT_STRING("{}"), number));
}

}  // namespace

Column* ColumnCache::ForPath(std::string_view path, bool skip_escaping) {
  StringMap<Column*>& paths = skip_escaping ? plain_paths_ : paths_;
  const auto found = paths.find(path);
  if (found != paths.end()) return found->second;
  NameRules rules = rules_;
  if (skip_escaping) rules.reserved = nullptr;
  const std::string name = ColumnName(path, rules);
  Column* column = name.empty() ? nullptr : ForName(name);
  paths.emplace(path, column);
  return column;
}

Column* ColumnCache::ForName(std::string_view name) {
  auto found = columns_.find(name);
  if (found == columns_.end()) {
    found = columns_.emplace(name, std::make_unique<Column>()).first;
    found->second->name.assign(name);
  }
  return found->second.get();
}

void ColumnCache::Trim() {
  if (paths_.size() + plain_paths_.size() < kMaxCachedPaths) return;
  paths_.clear();
  plain_paths_.clear();
  columns_.clear();
}

void CellSet::Clear() {
  static thread_local uint64_t next_id = 0;
  id_ = ++next_id;
  entries_.clear();
  size_ = 0;
}

void CellSet::Set(Column* column, DataType type, std::string_view text) {
  if (column->owner == id_) {
    Entry& entry = entries_[column->slot];
    if (entry.column == nullptr) ++size_;
    entry = {column, text, type};
    return;
  }
  column->owner = id_;
  column->slot = entries_.size();
  entries_.push_back({column, text, type});
  ++size_;
}

void CellSet::Remove(Column* column) {
  if (column->owner != id_ || entries_[column->slot].column == nullptr) return;
  entries_[column->slot].column = nullptr;
  --size_;
}

bool ReadValue(simdjson::dom::element value, Arena& arena, DataType* type, std::string_view* text) {
  using simdjson::dom::element_type;
  switch (value.type()) {
    case element_type::STRING: {
      const std::string_view string = value.get_string().value_unsafe();
      if (string.empty()) return false;
      *text = string;
      if (std::memchr(string.data(), 0, string.size()) != nullptr) {
        std::string copy(string);
        std::erase(copy, '\0');
        if (copy.empty()) return false;
        *text = arena.Keep(std::move(copy));
      }
      *type = IsDatetime(*text) ? DataType::kDatetime : DataType::kString;
      return true;
    }
    case element_type::INT64:
      *type = DataType::kInt;
      *text = KeepInt(value.get_int64().value_unsafe(), arena);
      return true;
    case element_type::UINT64:  // beyond 2^63: no warehouse has such integers
      *type = DataType::kFloat;
      *text = arena.Keep(fmt::format(FMT_STRING("{}"), value.get_uint64().value_unsafe()));
      return true;
    case element_type::DOUBLE: {
      const double number = value.get_double().value_unsafe();
      if (std::nearbyint(number) == number && std::abs(number) < kLargestExactInt) {
        *type = DataType::kInt;
        *text = KeepInt(static_cast<int64_t>(number), arena);
      } else {
        *type = DataType::kFloat;
        *text = arena.Keep(fmt::format(FMT_STRING("{}"), number));
      }
      return true;
    }
    case element_type::BOOL:
      *type = DataType::kBoolean;
      *text = value.get_bool().value_unsafe() ? "true" : "false";
      return true;
    case element_type::ARRAY:
      if (value.get_array().value_unsafe().size() == 0) return false;
      *type = DataType::kString;
      *text = JsonText(value, arena);
      return true;
    default:
      return false;
  }
}

std::string_view JsonText(simdjson::dom::element value, Arena& arena) {
  std::string json = simdjson::minify(value);
  if (json.find("\\u0000") != std::string::npos) json = WithoutEscapedNul(json);
  return arena.Keep(std::move(json));
}

void Flatten(simdjson::dom::object object, std::string_view prefix, std::string_view path,
             const FlattenRules& rules, ColumnCache& columns, Arena& arena, CellSet& cells,
             std::vector<Discard>& discards) {
  std::string column_prefix(prefix);
  std::string dotted(path);
  Walk(rules, columns, arena, cells, discards).Object(object, &column_prefix, &dotted, 0);
}

bool IsSpreadText(simdjson::dom::object object, std::string* text) {
  std::vector<std::pair<uint32_t, std::string_view>> parts;
  for (const auto field : object) {
    uint32_t index = 0;
    const char* end = field.key.data() + field.key.size();
    const auto [stop, error] = std::from_chars(field.key.data(), end, index);
    std::string_view character;
    if (error != std::errc() || stop != end || field.value.get(character) != simdjson::SUCCESS ||
        character.size() > 4) {
      return false;
    }
    parts.emplace_back(index, character);
  }
  if (parts.empty()) return false;
  std::ranges::sort(parts);
  if (parts[0].first > 1) return false;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].first != parts[0].first + i) return false;
    text->append(parts[i].second);
  }
  return true;
}

}  // namespace millrace::warehouse
