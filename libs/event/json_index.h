#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

#include "libs/event/scan.h"

namespace millrace::event {

/// Where a JSON text's strings, brackets and braces are: for one who passes over many of its
/// values, faster than scan::SkipString and scan::SkipValue, which say the same. Text that is no
/// JSON gives null or nonsense, no more. Meant to be used again for one text after another; one
/// thread.
class JsonIndex {
 public:
  /// What a processor may have; with each the same comes out.
  enum class Instructions { kPlain, kAvx2, kAvx512 };
  static bool Has(Instructions instructions);

  /// `text` lives as long as the index is asked.
  void Build(std::string_view text);
  /// With instructions that the processor has.
  void Build(std::string_view text, Instructions instructions);

  /// Whether there may be escapes in it.
  bool has_backslashes() const { return has_backslashes_; }
  /// `at` stands on the opening quote; the byte after the closing one, or null.
  const char* SkipString(const char* at) const {
    const auto from = static_cast<size_t>(at - text_.data()) + 1;
    size_t block = from / 64;
    if (block >= quotes_.size()) return nullptr;
    uint64_t left = quotes_[block] & ~uint64_t{0} << from % 64;
    while (left == 0) {
      if (++block == quotes_.size()) return nullptr;
      left = quotes_[block];
    }
    return text_.data() + block * 64 + std::countr_zero(left) + 1;
  }
  /// `at` stands on the first byte of a value; the byte after it, or null.
  const char* SkipValue(const char* at) const {
    const char* const end = text_.data() + text_.size();
    if (at != end && *at == '"') return SkipString(at);
    if (at != end && (*at == '{' || *at == '[')) return SkipNested(at);
    return scan::SkipValue(at, end);
  }

 private:
  const char* SkipNested(const char* at) const;

  std::string_view text_;
  bool has_backslashes_ = false;
  std::vector<uint64_t> quotes_;    // those that begin and end strings; a bit each byte
  std::vector<uint64_t> brackets_;  // and braces, outside strings
};

}  // namespace millrace::event
