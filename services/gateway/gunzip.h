#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "libs/base/status.h"

namespace millrace::gateway {

/// Unpacks gzip (one or more members). kResourceExhausted when the text would be larger than
/// `max_bytes`, found before more than that is unpacked; kInvalidArgument when it is no whole gzip.
StatusOr<std::string> Gunzip(std::string_view packed, size_t max_bytes);

}  // namespace millrace::gateway
