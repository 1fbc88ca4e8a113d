#pragma once

#include <string>
#include <string_view>

#include "libs/base/status.h"

namespace millrace::gateway {

/// The content of a gzip body. kResourceExhausted when it is larger than `limit`: reading stops there,
/// so a bomb costs no more than the limit. kInvalidArgument when it is broken or cut short.
StatusOr<std::string> Inflate(std::string_view gzip, size_t limit);

}  // namespace millrace::gateway
