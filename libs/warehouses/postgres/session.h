#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/warehouse/session.h"
#include "libs/warehouses/postgres/connection.h"
#include "libs/warehouses/postgres/dialect.h"

namespace millrace::warehouses::postgres {

/// Loads by COPY: rows of the ids that come are deleted, then all is copied in; users are copied
/// into a temporary table and merged column by column. One transaction, positions included, under
/// an advisory lock of the schema.
class PostgresSession final : public warehouse::Session {
 public:
  PostgresSession(std::unique_ptr<Connection> connection, std::string name_space)
      : connection_(std::move(connection)), name_space_(std::move(name_space)) {}

  /// Makes the schema and the table of positions unless they are there.
  Status Prepare();

  StatusOr<warehouse::Schema> ReadSchema() override;
  StatusOr<std::vector<warehouse::Position>> ReadPositions(
      std::string_view destination_id) override;
  StatusOr<warehouse::LoadResult> Write(const warehouse::Load& load) override;

 private:
  struct Refused {
    std::string table;
    std::string row_id;
    std::string line;
    std::string reason;
  };

  std::string Name(std::string_view table) const;
  static std::string ColumnList(const warehouse::TableRows& table, const std::string& prefix);
  /// Empty string: the positions are as the loader thinks; else what moved.
  Failure CheckPositions(const warehouse::Load& load, std::string* moved);
  Failure WriteTable(const warehouse::TableRows& table, const warehouse::Load& load);
  Failure Replace(const warehouse::TableRows& table, const warehouse::Load& load);
  Failure MergeUsers(const warehouse::TableRows& table, const warehouse::Load& load);
  Failure Copy(const std::string& sql, const warehouse::TableRows& table, size_t begin, size_t end,
               bool careful);
  Failure WriteRefused();
  Failure WritePositions(const warehouse::Load& load);
  Failure WriteAll(const warehouse::Load& load, std::string* moved);

  const std::unique_ptr<Connection> connection_;
  const std::string name_space_;
  const PostgresDialect dialect_;
  std::vector<Refused> refused_;
};

}  // namespace millrace::warehouses::postgres
