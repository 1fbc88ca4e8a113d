#include "libs/warehouses/postgres/dialect.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace millrace::warehouses::postgres {
namespace {

using warehouse::DataType;

// The words that RudderStack escapes for PostgreSQL: those the server reserves. Sorted.
constexpr auto kReserved = std::to_array<std::string_view>({"all",
                                                            "analyse",
                                                            "analyze",
                                                            "and",
                                                            "any",
                                                            "array",
                                                            "as",
                                                            "asc",
                                                            "asymmetric",
                                                            "authorization",
                                                            "between",
                                                            "binary",
                                                            "both",
                                                            "case",
                                                            "cast",
                                                            "check",
                                                            "collate",
                                                            "column",
                                                            "constraint",
                                                            "create",
                                                            "cross",
                                                            "current_date",
                                                            "current_role",
                                                            "current_time",
                                                            "current_timestamp",
                                                            "current_user",
                                                            "default",
                                                            "deferrable",
                                                            "desc",
                                                            "distinct",
                                                            "do",
                                                            "else",
                                                            "end",
                                                            "except",
                                                            "false",
                                                            "for",
                                                            "foreign",
                                                            "freeze",
                                                            "from",
                                                            "full",
                                                            "grant",
                                                            "group",
                                                            "having",
                                                            "ilike",
                                                            "in",
                                                            "initially",
                                                            "inner",
                                                            "intersect",
                                                            "into",
                                                            "is",
                                                            "isnull",
                                                            "join",
                                                            "leading",
                                                            "left",
                                                            "like",
                                                            "limit",
                                                            "localtime",
                                                            "localtimestamp",
                                                            "natural",
                                                            "new",
                                                            "not",
                                                            "notnull",
                                                            "null",
                                                            "off",
                                                            "offset",
                                                            "old",
                                                            "on",
                                                            "only",
                                                            "or",
                                                            "order",
                                                            "outer",
                                                            "overlaps",
                                                            "placing",
                                                            "primary",
                                                            "references",
                                                            "right",
                                                            "select",
                                                            "session_user",
                                                            "similar",
                                                            "some",
                                                            "symmetric",
                                                            "table",
                                                            "then",
                                                            "to",
                                                            "trailing",
                                                            "true",
                                                            "union",
                                                            "unique",
                                                            "user",
                                                            "using",
                                                            "verbose",
                                                            "when",
                                                            "where"});

bool IsReserved(std::string_view name) {
  return std::ranges::binary_search(kReserved, name);
}

}  // namespace

warehouse::NameRules PostgresDialect::Names() const {
  return {.max_bytes = 63, .reserved = &IsReserved};
}

std::string PostgresDialect::SqlType(DataType type) const {
  switch (type) {
    case DataType::kInt:
      return "bigint";
    case DataType::kFloat:
      return "numeric";
    case DataType::kBoolean:
      return "boolean";
    case DataType::kDatetime:
      return "timestamptz";
    case DataType::kJson:
      return "jsonb";
    default:
      return "text";
  }
}

DataType PostgresDialect::ParseType(std::string_view sql_type) const {
  // Types with a limit of their own (integer, varchar(20), numeric(10,2)) are not written to: a
  // value beyond it would stop the load.
  if (sql_type == "text" || sql_type == "character varying") return DataType::kString;
  if (sql_type == "bigint") return DataType::kInt;
  if (sql_type == "numeric" || sql_type == "double precision") return DataType::kFloat;
  if (sql_type == "boolean") return DataType::kBoolean;
  if (sql_type == "timestamp with time zone" || sql_type == "timestamp without time zone") {
    return DataType::kDatetime;
  }
  if (sql_type == "jsonb" || sql_type == "json") return DataType::kJson;
  return DataType::kUnsupported;
}

std::string PostgresDialect::Quote(std::string_view identifier) const {
  std::string quoted = "\"";
  for (const char c : identifier) {
    if (c == '\0') continue;
    if (c == '"') quoted.push_back('"');
    quoted.push_back(c);
  }
  return quoted + '"';
}

std::vector<std::string> PostgresDialect::Ddl(std::string_view schema_name,
                                              const warehouse::SchemaChange& change) const {
  const std::string table = fmt::format("{}.{}", Quote(schema_name), Quote(change.table));
  std::string columns;
  bool has_id = false;
  for (const warehouse::ColumnDef& column : change.columns) {
    columns +=
        fmt::format("{}{}{} {}", columns.empty() ? "" : ", ", change.create ? "" : "ADD COLUMN ",
                    Quote(column.name), SqlType(column.type));
    has_id = has_id || column.name == "id";
  }
  if (!change.create) return {fmt::format("ALTER TABLE {} {}", table, columns)};
  std::vector<std::string> statements = {fmt::format("CREATE TABLE {} ({})", table, columns)};
  // Rows are replaced by id at every load. Not unique: tables of RudderStack's may hold an id
  // twice.
  if (has_id) statements.push_back(fmt::format("CREATE INDEX ON {} (id)", table));
  return statements;
}

}  // namespace millrace::warehouses::postgres
