#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace millrace::processor {

/// Those of `keys` that `event` holds at its top level with another value than `accepted` does:
/// what a transformation set, as opposed to what the sender did. Both are JSON objects.
///
/// Values are compared as JavaScript reads them, so that no spelling of a sender's value (escapes,
/// 1.0 for 1, members that stand twice) becomes a change by being written anew. A value that cannot
/// be told for sure to differ (of broken text, too large a number, too deep) does not.
std::vector<std::string> ChangedKeys(std::string_view accepted, std::string_view event,
                                     const std::vector<std::string>& keys);

}  // namespace millrace::processor
