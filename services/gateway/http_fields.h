#pragma once

#include <string>
#include <string_view>

namespace millrace::gateway {

/// The user of `Basic` credentials, "" when `authorization` is none.
std::string BasicUser(std::string_view authorization);

/// The first parameter of that name, decoded; "" when there is none.
std::string QueryParameter(std::string_view query, std::string_view name);

}  // namespace millrace::gateway
