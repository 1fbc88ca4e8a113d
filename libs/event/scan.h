#pragma once

#include <string_view>

#include "libs/event/event_fields.h"

/// Walks over JSON text that has been validated before without building anything. On text that is
/// not JSON the functions stay within [begin, end) and answer null or nonsense, no more.
namespace millrace::event::scan {

/// The first byte that is no white space, or `end`.
inline const char* SkipSpace(const char* at, const char* end) {
  while (at != end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) ++at;
  return at;
}

/// `at` stands on the opening quote; the byte after the closing one, or null.
const char* SkipString(const char* at, const char* end);

/// `at` stands on the first byte of a value; the byte after it, or null. `depth`, when given, is
/// raised to the deepest nesting seen (a scalar has 0, `{}` has 1).
const char* SkipValue(const char* at, const char* end, int* depth = nullptr);

/// `at` stands on `{`. Fills `fields` (which must be empty) and answers the byte after the matching
/// `}`, or null. `depth` as in SkipValue.
const char* ScanObject(const char* at, const char* end, EventFields* fields, int* depth = nullptr);

/// One member of an object.
struct Member {
  std::string_view key;    // raw, with its quotes
  std::string_view value;  // raw
};

/// Iterates over the members of an object: `at` stands on `{` first; each call moves it on. False
/// at the end, where `at` is the byte after `}`, or null when the text is no object.
class Members {
 public:
  Members(const char* at, const char* end) : at_(at), end_(end) {}
  bool Next(Member* member, int* depth = nullptr);
  const char* at() const { return at_; }

 private:
  const char* at_;
  const char* end_;
  bool first_ = true;
};

/// The same for the elements of an array; `at` stands on `[`.
class Elements {
 public:
  Elements(const char* at, const char* end) : at_(at), end_(end) {}
  /// Moves to the next element. The caller then finds its end by itself and tells Advance.
  bool Next(const char** element);
  void Advance(const char* element_end) { at_ = element_end; }
  const char* at() const { return at_; }

 private:
  const char* at_;
  const char* end_;
  bool first_ = true;
};

/// Whether the raw key (with quotes) is `name`, escapes resolved.
bool KeyIs(std::string_view raw_key, std::string_view name);

}  // namespace millrace::event::scan
