#include "libs/warehouse/batch.h"

#include <fmt/format.h>

#include <utility>

namespace millrace::warehouse {

Batch::Batch(const Schema& schema, size_t max_columns, std::string loaded_at)
    : schema_(schema), max_columns_(max_columns), loaded_at_(std::move(loaded_at)) {}

TableRows& Batch::Table(std::string_view name) {
  auto found = tables_.find(name);
  if (found == tables_.end()) {
    const auto there = schema_.find(name);
    const MergeMode mode = name == "users"          ? MergeMode::kLatest
                           : name == kDiscardsTable ? MergeMode::kAppend
                                                    : MergeMode::kReplace;
    found = tables_
                .try_emplace(std::string(name), std::string(name), mode,
                             there == schema_.end() ? nullptr : &there->second, max_columns_)
                .first;
  }
  return found->second;
}

void Batch::Add(const Row& row, int64_t received_us, std::string_view received_at) {
  std::string_view id;
  for (const Cell& cell : row.cells) {
    if (cell.column == "id") id = cell.text;
  }
  std::vector<Cell> cells = row.cells;
  cells.push_back({"uuid_ts", loaded_at_, DataType::kDatetime});
  Table(row.table).Add(cells, received_us, [&](std::string_view row_id, const Discard& discard) {
    AddDiscard(row.table, row_id, discard, received_at);
  });
  for (const Discard& discard : row.discards) AddDiscard(row.table, id, discard, received_at);
}

void Batch::AddDiscard(std::string_view table, std::string_view row_id, const Discard& discard,
                       std::string_view received_at) {
  if (!discarded_.insert(fmt::format("{}\n{}\n{}", table, row_id, discard.column)).second) return;
  ++discards_;
  std::vector<Cell> cells = {
      {"table_name", table},           {"row_id", row_id},
      {"column_name", discard.column}, {"column_value", discard.text},
      {"reason", discard.reason},      {"uuid_ts", loaded_at_, DataType::kDatetime}};
  if (!received_at.empty()) cells.push_back({"received_at", received_at, DataType::kDatetime});
  // The columns of this table are Millrace's; one that does not fit has been changed by hand.
  Table(kDiscardsTable).Add(cells, 0, [](std::string_view, const Discard&) {});
}

void Batch::Finish() {
  for (auto& [name, table] : tables_) table.Finish();
}

std::vector<SchemaChange> Batch::Changes() const {
  std::vector<WantedTable> wanted;
  for (const auto& [name, table] : tables_) wanted.push_back({name, table.columns()});
  return Diff(schema_, wanted);
}

std::vector<const TableRows*> Batch::Tables() const {
  std::vector<const TableRows*> tables;
  for (const auto& [name, table] : tables_) tables.push_back(&table);
  return tables;
}

size_t Batch::rows() const {
  size_t rows = 0;
  for (const auto& [name, table] : tables_) rows += table.size();
  return rows -
         (tables_.contains(kDiscardsTable) ? tables_.find(kDiscardsTable)->second.size() : 0);
}

size_t Batch::bytes() const {
  size_t bytes = 0;
  for (const auto& [name, table] : tables_) bytes += table.bytes();
  return bytes;
}

}  // namespace millrace::warehouse
