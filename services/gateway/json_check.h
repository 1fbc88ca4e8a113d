#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace::gateway {

/// The tolerant path, for text that simdjson's DOM refuses. Checks `text` by RFC 8259 up to `max_depth`
/// and writes it to `out` with lone surrogates and invalid UTF-8 replaced by U+FFFD, control characters
/// in strings escaped, and numbers kept as they stand. `repairs` counts what was replaced.
///
/// False when it is not JSON; `fault` then says what and at which byte.
bool CheckAndRepairJson(std::string_view text, int max_depth, std::string* out, uint32_t* repairs,
                        std::string* fault);

}  // namespace millrace::gateway
