#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "libs/base/status.h"

namespace millrace::gateway {

/// Whether the bytes begin as gzip does.
inline bool IsGzip(std::string_view bytes) {
  return bytes.size() > 2 && bytes[0] == '\x1f' && bytes[1] == '\x8b';
}

/// Unpacks gzip (one or more members). kResourceExhausted when the text would be larger than
/// `max_bytes`, found before more than that is unpacked; kInvalidArgument when it is no whole gzip.
StatusOr<std::string> Gunzip(std::string_view packed, size_t max_bytes);

}  // namespace millrace::gateway
