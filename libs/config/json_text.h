#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string_view>

#include "libs/base/status.h"

namespace millrace::config {

/// Parses what people write. kInvalidArgument says "not JSON", at what line and column, and why.
StatusOr<nlohmann::json> ParseJsonText(std::string_view text);

}  // namespace millrace::config
