#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

/// Kafka's partitioner hash (murmur2 as in org.apache.kafka.common.utils.Utils), masked to 31 bits.
uint32_t Murmur2(std::string_view data);

/// CRC32C (Castagnoli), with the processor's instruction where it has one; `crc` chains calls.
uint32_t Crc32c(std::string_view data, uint32_t crc = 0);

/// 128 bits of SHA-256: for ids and dedup keys, where an adversary chooses the input.
std::array<uint64_t, 2> Sha256Prefix128(std::string_view data);

/// Lower-case hex.
std::string Sha256Hex(std::string_view data);
std::string Md5Hex(std::string_view data);

/// Standard alphabet with padding. DecodeBase64 also takes missing padding; false on anything else.
std::string EncodeBase64(std::string_view data);
bool DecodeBase64(std::string_view text, std::string* data);

/// Equal in time that depends on the lengths only: for keys and tokens.
bool ConstantTimeEqual(std::string_view a, std::string_view b);

}  // namespace millrace
