#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

/// A random UUID (version 4), lower case with dashes. Any thread.
std::string NewUuid();

/// A UUID (version 7) whose text sorts by time; `unix_us` is the time to put in.
std::string NewUuidV7(int64_t unix_us);

/// A random id of 27 letters and digits with a prefix, e.g. "src_2pX...": for sources, destinations
/// and keys. From the system's cryptographic source.
std::string NewId(std::string_view prefix);

/// `bytes` random bytes of the system's cryptographic source, as lower-case hex.
std::string NewSecretHex(size_t bytes);

}  // namespace millrace
