#pragma once

#include <re2/re2.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::transformation::rules {

/// Bytes by which rules may make a value, or an event, larger.
constexpr size_t kMaxGrowthBytes = 1 << 20;

/// What a rule makes of one value: raw JSON in, raw JSON out; nothing: the value stays as it is.
using NewValue = std::optional<std::string>;

bool IsTextValue(std::string_view raw);
bool IsNumberValue(std::string_view raw);

struct Hashing {
  bool md5 = false;        // else SHA-256
  bool normalize = false;  // trim, and lower case (ASCII)
  std::string salt;
};
/// Hex of the hash of salt and value; of texts and numbers.
NewValue HashValue(std::string_view raw, const Hashing& hashing);

struct Masking {
  size_t keep_first = 0;
  size_t keep_last = 0;
  bool email = false;  // an address keeps its domain; what is kept of its name counts from there
};
/// Every other character is `*`; of texts and numbers.
NewValue MaskValue(std::string_view raw, const Masking& masking);

enum class CastType { kString, kNumber, kInteger, kBoolean, kTimestamp };
/// Nothing when the value cannot be that, or is null.
NewValue CastValue(std::string_view raw, CastType type);

struct Replacing {
  std::shared_ptr<const RE2> pattern;
  std::string with;
};
/// Replaces each match of the pattern; of texts. What is larger than the value by more than
/// kMaxGrowthBytes is not made whole.
NewValue ReplaceText(std::string_view raw, const Replacing& replacing);
/// ASCII and no more; of texts.
NewValue LowercaseText(std::string_view raw);

/// Where a stable id stands between 0 and 1, evenly spread.
double SamplePoint(std::string_view id);

}  // namespace millrace::transformation::rules
