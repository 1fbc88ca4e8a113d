#pragma once

#include <string>
#include <string_view>

namespace millrace::cli {

/// The lines of `before` and `after` that differ, with `-` and `+` before them and up to two lines
/// around each group; "" when there is none.
std::string LineDiff(std::string_view before, std::string_view after);

}  // namespace millrace::cli
