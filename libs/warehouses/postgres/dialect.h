#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libs/warehouse/dialect.h"

namespace millrace::warehouses::postgres {

/// PostgreSQL 12 and later.
class PostgresDialect final : public warehouse::Dialect {
 public:
  warehouse::NameRules Names() const override;
  /// 1,600 is the server's; some are left for columns that people add.
  size_t MaxColumns() const override { return 1550; }
  std::string SqlType(warehouse::DataType type) const override;
  /// `sql_type` as format_type() gives it.
  warehouse::DataType ParseType(std::string_view sql_type) const override;
  std::string Quote(std::string_view identifier) const override;
  std::vector<std::string> Ddl(std::string_view schema_name,
                               const warehouse::SchemaChange& change) const override;
};

}  // namespace millrace::warehouses::postgres
