#pragma once

#include <optional>
#include <string_view>

namespace millrace::transformation {

/// The source of a library that every workspace has under RudderStack's name for it, e.g.
/// "@rs/urlParser/v1". Lives for ever.
std::optional<std::string_view> BuiltinLibrary(std::string_view name);

}  // namespace millrace::transformation
