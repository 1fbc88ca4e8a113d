#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/string_map.h"
#include "libs/warehouse/types.h"

namespace millrace::warehouse {

struct ColumnDef {
  std::string name;
  DataType type = DataType::kString;
  bool operator==(const ColumnDef&) const = default;
};

struct TableSchema {
  StringMap<DataType> columns;
  size_t dropped_columns = 0;  // that still count against the warehouse's limit
};

/// The tables of one namespace, as last read.
using Schema = std::map<std::string, TableSchema, std::less<>>;

/// One table to make, or columns to add to one.
struct SchemaChange {
  std::string table;
  bool create = false;
  std::vector<ColumnDef> columns;
  bool operator==(const SchemaChange&) const = default;
};

/// A table that a load writes to.
struct WantedTable {
  std::string name;
  std::vector<ColumnDef> columns;
};

/// What `have` lacks for `wanted`, in the order of `wanted`. Types are never changed.
std::vector<SchemaChange> Diff(const Schema& have, const std::vector<WantedTable>& wanted);

/// Does to `schema` what the changes do in the warehouse.
void Apply(const std::vector<SchemaChange>& changes, Schema* schema);

/// The type that a column of the layout has whatever value comes first; none for users' own
/// columns.
std::optional<DataType> LayoutType(std::string_view table, std::string_view column);

}  // namespace millrace::warehouse
