#pragma once

#include <bit>
#include <cstdint>
#include <utility>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/// JSON text in blocks of 64 bytes, as bit masks with the first byte in the lowest bit.
namespace millrace::event {

struct Block {
  uint64_t quotes = 0;
  uint64_t backslashes = 0;
  uint64_t brackets = 0;  // and braces, that open or close
};

/// What of the blocks before matters to the next.
struct BlockState {
  uint64_t in_string = 0;  // all bits: they end in one
  uint64_t escape = 0;     // 1: they end with a backslash that escapes
};

// Brackets and braces differ in bit 5 only.
inline constexpr char kBracketBit = 0x20;
inline bool IsOpening(char c) {
  return (c | kBracketBit) == '{';
}

inline Block ReadBlock(const char* at) {
  Block block;
#if defined(__SSE2__)
  const auto mask = [](__m128i same, int part) {
    return static_cast<uint64_t>(static_cast<uint32_t>(_mm_movemask_epi8(same))) << (16 * part);
  };
  const __m128i bit = _mm_set1_epi8(kBracketBit);
  for (int part = 0; part < 4; ++part) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16 * part));
    const __m128i folded = _mm_or_si128(bytes, bit);
    block.quotes |= mask(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), part);
    block.backslashes |= mask(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')), part);
    block.brackets |= mask(_mm_or_si128(_mm_cmpeq_epi8(folded, _mm_set1_epi8('{')),
                                        _mm_cmpeq_epi8(folded, _mm_set1_epi8('}'))),
                           part);
  }
#else
  for (int i = 0; i < 64; ++i) {
    const char folded = static_cast<char>(at[i] | kBracketBit);
    block.quotes |= static_cast<uint64_t>(at[i] == '"') << i;
    block.backslashes |= static_cast<uint64_t>(at[i] == '\\') << i;
    block.brackets |= static_cast<uint64_t>(folded == '{' || folded == '}') << i;
  }
#endif
  return block;
}

// The bytes that a backslash before them escapes. `carry`: whether the first is one, then whether
// the first of the next block is.
inline uint64_t Escaped(uint64_t backslashes, uint64_t* carry) {
  uint64_t escaped = std::exchange(*carry, 0);
  backslashes &= ~escaped;
  while (backslashes != 0) {
    const int at = std::countr_zero(backslashes);
    if (at == 63) {
      *carry = 1;
      break;
    }
    const uint64_t next = uint64_t{1} << (at + 1);
    escaped |= next;
    backslashes &= ~(next | (next - 1));
  }
  return escaped;
}

// For each byte whether an odd number of `quotes` is at or before it.
inline uint64_t Within(uint64_t quotes) {
  for (int distance = 1; distance < 64; distance *= 2) quotes ^= quotes << distance;
  return quotes;
}

/// Leaves the quotes that are not escaped and the brackets outside strings.
inline Block TakeBlock(Block block, BlockState* state, uint64_t (*within)(uint64_t) = &Within) {
  if ((block.backslashes | state->escape) != 0)
    block.quotes &= ~Escaped(block.backslashes, &state->escape);
  const uint64_t in_string = within(block.quotes) ^ state->in_string;
  state->in_string = uint64_t{0} - (in_string >> 63);
  block.brackets &= ~in_string;
  return block;
}

}  // namespace millrace::event
