#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/warehouse/column_names.h"
#include "libs/warehouse/schema.h"
#include "libs/warehouse/types.h"

namespace millrace::warehouse {

/// The names, types and DDL of one warehouse. Pure; any thread.
class Dialect {
 public:
  virtual ~Dialect() = default;
  virtual NameRules Names() const = 0;
  virtual size_t MaxColumns() const = 0;
  virtual std::string SqlType(DataType type) const = 0;
  /// What a column of the warehouse's type `sql_type` can take; kUnsupported for all that is not
  /// written to.
  virtual DataType ParseType(std::string_view sql_type) const = 0;
  virtual std::string Quote(std::string_view identifier) const = 0;
  /// The statements, in order, that make `change` in `schema_name`. They fail when another has
  /// made it meanwhile: then the schema has to be read again.
  virtual std::vector<std::string> Ddl(std::string_view schema_name,
                                       const SchemaChange& change) const = 0;
};

}  // namespace millrace::warehouse
