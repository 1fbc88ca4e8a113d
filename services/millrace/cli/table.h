#pragma once

#include <string>
#include <vector>

namespace millrace::cli {

/// Rows of cells as text with aligned columns, two blanks apart; the first row is the heading.
/// Control characters, which events may hold, are shown as blanks. Columns that hold numbers only
/// are aligned right.
std::string FormatTable(const std::vector<std::vector<std::string>>& rows);

}  // namespace millrace::cli
