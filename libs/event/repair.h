#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libs/base/status.h"

namespace millrace::event {

/// The deepest nesting an event may have; `{}` has 1.
inline constexpr int kMaxDepth = 128;

struct Repaired {
  std::string json;
  uint32_t repairs = 0;
};

/// Checks `json` against RFC 8259 and mends what other senders let through although many readers
/// refuse it: escapes of lone surrogates and bytes that are no UTF-8 become U+FFFD, numbers beyond
/// a double (1e400) become strings of the same text. All else, integers of any size too, stays as
/// it is. For text that the fast parser has refused. kInvalidArgument when it is no JSON,
/// kOutOfRange when it is nested deeper than `max_depth`.
StatusOr<Repaired> Repair(std::string_view json, int max_depth = kMaxDepth);

/// `text` with U+FFFD for each byte that is no part of UTF-8.
std::string RepairUtf8(std::string text);

}  // namespace millrace::event
