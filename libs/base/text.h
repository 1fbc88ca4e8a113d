#pragma once

#include <string_view>

namespace millrace {

/// The beginning of UTF-8 `text`, at most `max` bytes, no character cut in two.
inline std::string_view ClipText(std::string_view text, size_t max) {
  if (text.size() <= max) return text;
  while (max > 0 && (static_cast<unsigned char>(text[max]) & 0xC0) == 0x80) --max;
  return text.substr(0, max);
}

}  // namespace millrace
