#include "services/millrace/cli/table.h"

#include <algorithm>
#include <cctype>
#include <cstddef>

namespace millrace::cli {
namespace {

/// Characters as a terminal counts them, not bytes: all but UTF-8's continuation bytes.
size_t Width(const std::string& cell) {
  return static_cast<size_t>(std::count_if(cell.begin(), cell.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

bool IsNumber(const std::string& cell) {
  const size_t sign = !cell.empty() && cell.front() == '-' ? 1 : 0;
  return cell.size() > sign &&
         std::all_of(cell.begin() + static_cast<std::ptrdiff_t>(sign), cell.end(),
                     [](unsigned char c) { return std::isdigit(c) != 0; });
}

struct Column {
  size_t width = 0;
  bool numbers = true;
};

}  // namespace

std::string FormatTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<Column> columns;
  for (size_t r = 0; r < rows.size(); ++r) {
    if (columns.size() < rows[r].size()) columns.resize(rows[r].size());
    for (size_t c = 0; c < rows[r].size(); ++c) {
      columns[c].width = std::max(columns[c].width, Width(rows[r][c]));
      if (r > 0) columns[c].numbers = columns[c].numbers && IsNumber(rows[r][c]);
    }
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string blanks(columns[c].width - Width(row[c]), ' ');
      const bool right = rows.size() > 1 && columns[c].numbers;
      if (c > 0) line += "  ";
      line += right ? blanks + row[c] : row[c] + blanks;
    }
    std::replace_if(
        line.begin(), line.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace millrace::cli
