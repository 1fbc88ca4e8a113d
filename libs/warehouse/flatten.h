#pragma once

#include <simdjson.h>

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/string_map.h"
#include "libs/warehouse/column_names.h"
#include "libs/warehouse/types.h"

namespace millrace::warehouse {

/// A column name, kept once; the mark tells a CellSet where it holds the column.
struct Column {
  std::string name;
  uint64_t owner = 0;
  size_t slot = 0;
};

/// Makes column names of flattened keys and remembers them: hardly any event brings new keys.
/// One thread. Columns live until Trim.
class ColumnCache {
 public:
  explicit ColumnCache(NameRules rules) : rules_(rules) {}
  /// Null when no name can be made of `path`.
  Column* ForPath(std::string_view path, bool skip_escaping);
  /// The column of exactly this name.
  Column* ForName(std::string_view name);
  /// Forgets all when hostile events have made it large.
  void Trim();
  const NameRules& rules() const { return rules_; }

 private:
  const NameRules rules_;
  StringMap<Column*> paths_;
  StringMap<Column*> plain_paths_;  // reserved words not escaped
  StringMap<std::unique_ptr<Column>> columns_;
};

/// The cells of a row that is being made; a column set again replaces the older value. Only the set
/// that was cleared last may be written to.
class CellSet {
 public:
  struct Entry {
    Column* column;
    std::string_view text;
    DataType type;
  };
  void Clear();
  void Set(Column* column, DataType type, std::string_view text);
  void Remove(Column* column);
  /// Removed entries have a null column.
  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return size_; }

 private:
  std::vector<Entry> entries_;
  uint64_t id_ = 0;
  size_t size_ = 0;
};

/// Text that lives until Clear.
class Arena {
 public:
  std::string_view Keep(std::string text) { return kept_.emplace_back(std::move(text)); }
  void Clear() { kept_.clear(); }

 private:
  std::deque<std::string> kept_;
};

/// How objects are taken apart.
struct FlattenRules {
  /// Objects below this many levels become JSON text.
  int max_level = 128;
  bool skip_escaping = false;
  /// Dotted paths ("track.properties.location") whose value becomes one JSON column.
  const std::vector<std::string>* json_paths = nullptr;
};

/// The type and plain text of a scalar or an array; false for null, blank text, an empty array and
/// objects. Views of strings live as long as the parser's document, all else as `arena`.
bool ReadValue(simdjson::dom::element value, Arena& arena, DataType* type, std::string_view* text);

/// `value` as JSON text without blanks.
std::string_view JsonText(simdjson::dom::element value, Arena& arena);

/// Sets a cell in `cells` for every value of `object`, nested keys joined with "_" after `prefix`.
/// `path` is the dotted path of the object. Values that no column can be named for go to
/// `discards`.
void Flatten(simdjson::dom::object object, std::string_view prefix, std::string_view path,
             const FlattenRules& rules, ColumnCache& columns, Arena& arena, CellSet& cells,
             std::vector<Discard>& discards);

/// The text that `{"0": "a", "1": "b"}`, a string that was spread into an object, was made of.
bool IsSpreadText(simdjson::dom::object object, std::string* text);

}  // namespace millrace::warehouse
