#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/string_map.h"
#include "libs/warehouse/schema.h"
#include "libs/warehouse/types.h"

namespace millrace::warehouse {

/// How rows meet rows of the same id.
enum class MergeMode {
  kReplace,  // the later one stands
  kLatest,   // column by column the latest value that is not null (users)
  kAppend,   // rows have no id
};

/// The rows of one table in one load, kept as the text that the warehouse is sent: one line a row,
/// tabs between columns, \N for null. Values are brought to the type of their column; what does
/// not fit is handed to the discard function.
///
/// One thread.
class TableRows {
 public:
  using OnDiscard = std::function<void(std::string_view row_id, const Discard&)>;

  /// `have`: the table as it stands, null when it is to be made; it must outlive this.
  TableRows(std::string name, MergeMode mode, const TableSchema* have, size_t max_columns);

  /// Adds a row, unless a later one of the same id is there already. `received_us` orders the rows
  /// of one id; of equal ones the one added last is the later.
  void Add(const std::vector<Cell>& cells, int64_t received_us, const OnDiscard& discard);

  const std::string& name() const { return name_; }
  MergeMode mode() const { return mode_; }
  bool exists() const { return have_ != nullptr; }
  const std::vector<ColumnDef>& columns() const { return columns_; }
  size_t size() const { return live_; }
  size_t bytes() const { return text_.size(); }

  /// The ids of the rows, in the order of Lines; valid until the next Add.
  std::vector<std::string_view> Ids() const;
  /// The id of row `at` after Finish; empty in mode kAppend.
  std::string_view Id(size_t at) const { return rows_[at].id; }
  /// Drops the rows that were replaced: from then on Lines() numbers what is left.
  void Finish();
  /// Appends the lines of rows [begin, end) after Finish.
  void Lines(size_t begin, size_t end, std::string* out) const;

 private:
  struct Stored {
    size_t begin = 0;
    size_t size = 0;
    size_t columns = 0;
    int64_t received_us = 0;
    bool dead = false;
    std::string_view id;  // in ids_
  };
  /// The column's number; kNoColumn and the reason when the value cannot be stored.
  size_t ColumnOf(const Cell& cell, std::string* reason);
  void AppendLine();
  void MergeInto(const Stored& older, const Stored& newer);

  static constexpr size_t kNoColumn = SIZE_MAX;
  const std::string name_;
  const MergeMode mode_;
  const TableSchema* const have_;
  const size_t max_columns_;
  size_t free_columns_;
  std::vector<ColumnDef> columns_;
  StringMap<size_t> index_;
  std::vector<const Cell*> line_;  // of the row in work, by column
  std::string text_;
  std::vector<Stored> rows_;
  absl::flat_hash_map<std::string_view, size_t, StringHash, std::equal_to<>> by_id_;
  std::deque<std::string> ids_;
  size_t live_ = 0;
};

}  // namespace millrace::warehouse
