#include "libs/warehouse/table_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "libs/event/event_fields.h"
#include "libs/warehouse/values.h"

namespace millrace::warehouse {
namespace {

constexpr std::string_view kNull = "\\N";

std::string_view TakeField(std::string_view* line) {
  const size_t end = std::min(line->find('\t'), line->size());
  const std::string_view field = line->substr(0, end);
  line->remove_prefix(std::min(end + 1, line->size()));
  return field;
}

}  // namespace

TableRows::TableRows(std::string name, MergeMode mode, const TableSchema* have, size_t max_columns)
    : name_(std::move(name)), mode_(mode), have_(have), max_columns_(max_columns) {
  const size_t used = have == nullptr ? 0 : have->columns.size() + have->dropped_columns;
  free_columns_ = max_columns > used ? max_columns - used : 0;
}

size_t TableRows::ColumnOf(const Cell& cell, std::string* reason) {
  auto at = index_.find(cell.column);
  if (at == index_.end()) {
    ColumnDef column{.name = std::string(cell.column), .type = cell.type};
    if (const auto layout = LayoutType(name_, cell.column)) column.type = *layout;
    bool exists = false;
    if (have_ != nullptr) {
      const auto there = have_->columns.find(cell.column);
      exists = there != have_->columns.end();
      if (exists) column.type = there->second;
    }
    if (column.type == DataType::kUnsupported) {
      *reason = "the column has a type that is not written to";
      return kNoColumn;
    }
    if (!exists && free_columns_ == 0) {
      *reason = fmt::format("the table has its limit of {} columns", max_columns_);
      return kNoColumn;
    }
    if (!exists) --free_columns_;
    at = index_.emplace(column.name, columns_.size()).first;
    columns_.push_back(std::move(column));
  }
  const DataType type = columns_[at->second].type;
  if (Fits(cell.type, type)) return at->second;
  *reason = fmt::format("a value of type {} does not fit the column's type {}", TypeName(cell.type),
                        TypeName(type));
  return kNoColumn;
}

void TableRows::Add(const std::vector<Cell>& cells, int64_t received_us, const OnDiscard& discard) {
  std::string_view id;
  for (const Cell& cell : cells) {
    if (cell.column == "id") id = cell.text;
  }
  line_.assign(columns_.size(), nullptr);
  for (const Cell& cell : cells) {
    std::string reason;
    const size_t at = ColumnOf(cell, &reason);
    if (at == kNoColumn) {
      discard(id, {cell.column, cell.text, reason});
      continue;
    }
    if (line_.size() <= at) line_.resize(at + 1, nullptr);
    line_[at] = &cell;
  }
  Stored row{.begin = text_.size(), .received_us = received_us};
  AppendLine();
  row.size = text_.size() - row.begin;
  row.columns = line_.size();

  if (mode_ != MergeMode::kAppend) {
    const auto known = by_id_.find(id);
    if (known == by_id_.end()) {
      row.id = ids_.emplace_back(id);
      by_id_.emplace(row.id, rows_.size());
    } else {
      row.id = known->first;
      Stored& other = rows_[known->second];
      const bool later = row.received_us >= other.received_us;
      if (mode_ == MergeMode::kLatest) {
        const Stored older = later ? other : row;
        const Stored newer = later ? row : other;
        row.begin = text_.size();
        row.columns = std::max(older.columns, newer.columns);
        row.received_us = newer.received_us;
        MergeInto(older, newer);
        row.size = text_.size() - row.begin;
      } else if (!later) {
        text_.resize(row.begin);
        return;
      }
      other.dead = true;
      --live_;
      known->second = rows_.size();
    }
  }
  rows_.push_back(row);
  ++live_;
}

void TableRows::AppendLine() {
  for (size_t i = 0; i < line_.size(); ++i) {
    if (i > 0) text_.push_back('\t');
    const Cell* cell = line_[i];
    if (cell == nullptr) {
      text_.append(kNull);
    } else if (columns_[i].type == DataType::kJson &&
               (cell->type == DataType::kString || cell->type == DataType::kDatetime)) {
      AppendCopyText(event::QuoteJson(cell->text), &text_);
    } else {
      AppendCopyText(cell->text, &text_);
    }
  }
}

/// Appends the line of two rows of one id: the newer one's values, where it has none the older
/// one's.
void TableRows::MergeInto(const Stored& older, const Stored& newer) {
  const std::string copy =
      text_.substr(older.begin, older.size) + '\n' + text_.substr(newer.begin, newer.size);
  std::string_view old_line(copy.data(), older.size);
  std::string_view new_line(copy.data() + older.size + 1, newer.size);
  for (size_t i = 0; i < std::max(older.columns, newer.columns); ++i) {
    const std::string_view old_field = i < older.columns ? TakeField(&old_line) : kNull;
    const std::string_view new_field = i < newer.columns ? TakeField(&new_line) : kNull;
    if (i > 0) text_.push_back('\t');
    text_.append(new_field == kNull ? old_field : new_field);
  }
}

std::vector<std::string_view> TableRows::Ids() const {
  std::vector<std::string_view> ids;
  ids.reserve(live_);
  for (const Stored& row : rows_) {
    if (!row.dead) ids.push_back(row.id);
  }
  return ids;
}

void TableRows::Finish() {
  std::erase_if(rows_, [](const Stored& row) { return row.dead; });
}

void TableRows::Lines(size_t begin, size_t end, std::string* out) const {
  for (size_t i = begin; i < end; ++i) {
    const Stored& row = rows_[i];
    out->append(text_, row.begin, row.size);
    for (size_t column = row.columns; column < columns_.size(); ++column) {
      out->append(column == 0 ? "\\N" : "\t\\N");
    }
    out->push_back('\n');
  }
}

}  // namespace millrace::warehouse
