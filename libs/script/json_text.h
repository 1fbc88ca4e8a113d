#pragma once

#include <string>
#include <string_view>

namespace millrace::script {

/// Appends `text`, in the engine's UTF-8, as a JSON string, as JSON.stringify would write it.
void AppendQuoted(std::string_view text, std::string* out);

/// Appends valid JSON without the white space between its tokens.
void AppendWithoutSpaces(std::string_view json, std::string* out);

}  // namespace millrace::script
