#pragma once

#include <string>
#include <vector>

namespace millrace::cli {

/// Rows of text as columns of even width, two spaces between; the first row is the heading. Cells that are
/// whole numbers stand to the right.
std::string FormatTable(const std::vector<std::vector<std::string>>& rows);

}  // namespace millrace::cli
