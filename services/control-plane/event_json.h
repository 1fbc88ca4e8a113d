#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string_view>

#include "libs/base/status.h"

namespace millrace::control_plane {

/// JSON that came from outside. kInvalidArgument when it is none, or nested so deeply that writing
/// it out again would take all of the stack.
StatusOr<nlohmann::json> ParseJson(std::string_view text);

/// The bytes of an event for showing: parsed, or as text when they are no JSON that ParseJson
/// takes.
nlohmann::json EventToJson(std::string_view bytes);

}  // namespace millrace::control_plane
