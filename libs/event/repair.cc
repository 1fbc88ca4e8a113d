#include "libs/event/repair.h"

#include <cmath>
#include <cstdlib>

namespace millrace::event {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
bool IsHex(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// The length of the UTF-8 sequence at the front of `text`, or 0 when there is none.
size_t Utf8Length(std::string_view text) {
  const auto byte = [text](size_t i) -> uint32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const auto follows = [&byte](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const uint32_t first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if (!follows(1) || !follows(2)) return 0;
    if (first == 0xe0 && byte(1) < 0xa0) return 0;
    if (first == 0xed && byte(1) > 0x9f) return 0;
    return 3;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (!follows(1) || !follows(2) || !follows(3)) return 0;
    if (first == 0xf0 && byte(1) < 0x90) return 0;
    if (first == 0xf4 && byte(1) > 0x8f) return 0;
    return 4;
  }
  return 0;
}

class Mender {
 public:
  Mender(std::string_view text, int max_depth) : text_(text), max_depth_(max_depth) {
    out_.json.reserve(text.size() + 16);
  }

  StatusOr<Repaired> Run() {
    Space();
    bool ok = Value(0);
    Space();
    if (too_deep_) {
      return Error(StatusCode::kOutOfRange, "JSON is nested deeper than {}", max_depth_);
    }
    ok = ok && at_ == text_.size();
    if (!ok) return Error(StatusCode::kInvalidArgument, "invalid JSON at byte {}", at_);
    return std::move(out_);
  }

 private:
  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void Copy(size_t count) {
    out_.json += text_.substr(at_, count);
    at_ += count;
  }
  bool Take(char c) {
    if (Peek() != c || at_ >= text_.size()) return false;
    Copy(1);
    return true;
  }
  void Space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) {
      Copy(1);
    }
  }
  bool Word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    Copy(word.size());
    return true;
  }

  bool Value(int depth) {
    switch (Peek()) {
      case '{':
        return Object(depth + 1);
      case '[':
        return Array(depth + 1);
      case '"':
        return String();
      case 't':
        return Word("true");
      case 'f':
        return Word("false");
      case 'n':
        return Word("null");
      default:
        return Number();
    }
  }

  bool Enter(int depth) {
    if (depth > max_depth_) too_deep_ = true;
    return !too_deep_;
  }

  bool Object(int depth) {
    if (!Enter(depth) || !Take('{')) return false;
    Space();
    if (Take('}')) return true;
    do {
      Space();
      if (Peek() != '"' || !String()) return false;
      Space();
      if (!Take(':')) return false;
      Space();
      if (!Value(depth)) return false;
      Space();
    } while (Take(','));
    return Take('}');
  }

  bool Array(int depth) {
    if (!Enter(depth) || !Take('[')) return false;
    Space();
    if (Take(']')) return true;
    do {
      Space();
      if (!Value(depth)) return false;
      Space();
    } while (Take(','));
    return Take(']');
  }

  // The value of the \uXXXX escape at `at`, or -1.
  int32_t EscapedUnit(size_t at) const {
    if (at + 6 > text_.size() || text_[at] != '\\' || text_[at + 1] != 'u') return -1;
    for (size_t i = at + 2; i < at + 6; ++i) {
      if (!IsHex(text_[i])) return -1;
    }
    return static_cast<int32_t>(
        std::strtol(std::string(text_.substr(at + 2, 4)).c_str(), nullptr, 16));
  }

  bool Escape() {
    if (at_ + 1 >= text_.size()) return false;
    if (text_[at_ + 1] != 'u') {
      if (std::string_view("\"\\/bfnrt").find(text_[at_ + 1]) == std::string_view::npos)
        return false;
      Copy(2);
      return true;
    }
    const int32_t unit = EscapedUnit(at_);
    if (unit < 0) return false;
    if (unit < 0xd800 || unit > 0xdfff) {
      Copy(6);
      return true;
    }
    const int32_t low = unit < 0xdc00 ? EscapedUnit(at_ + 6) : -1;
    if (low >= 0xdc00 && low <= 0xdfff) {
      Copy(12);
      return true;
    }
    Replace(6, "\\ufffd");
    return true;
  }

  void Replace(size_t count, std::string_view with) {
    out_.json += with;
    at_ += count;
    ++out_.repairs;
  }

  bool String() {
    Copy(1);
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') {
        Copy(1);
        return true;
      }
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c == '\\') {
        if (!Escape()) return false;
        continue;
      }
      const size_t length = Utf8Length(text_.substr(at_));
      if (length == 0)
        Replace(1, kReplacement);
      else
        Copy(length);
    }
    return false;
  }

  bool Digits(size_t& end) const {
    const size_t begin = end;
    while (end < text_.size() && IsDigit(text_[end])) ++end;
    return end > begin;
  }

  bool Number() {
    size_t end = at_;
    const auto next = [&] { return end < text_.size() ? text_[end] : '\0'; };
    if (next() == '-') ++end;
    if (next() == '0')
      ++end;
    else if (!Digits(end))
      return false;
    bool integer = true;
    if (next() == '.') {
      integer = false;
      ++end;
      if (!Digits(end)) return false;
    }
    if (next() == 'e' || next() == 'E') {
      integer = false;
      ++end;
      if (next() == '+' || next() == '-') ++end;
      if (!Digits(end)) return false;
    }
    const std::string_view number = text_.substr(at_, end - at_);
    if (!integer && std::isinf(std::strtod(std::string(number).c_str(), nullptr))) {
      Replace(number.size(), '"' + std::string(number) + '"');
    } else {
      Copy(number.size());
    }
    return true;
  }

  const std::string_view text_;
  const int max_depth_;
  size_t at_ = 0;
  bool too_deep_ = false;
  Repaired out_;
};

}  // namespace

StatusOr<Repaired> Repair(std::string_view json, int max_depth) {
  return Mender(json, max_depth).Run();
}

std::string RepairUtf8(std::string text) {
  std::string out;
  size_t kept = 0;  // `text` up to here is in `out`
  for (size_t at = 0; at < text.size();) {
    const size_t length = Utf8Length(std::string_view(text).substr(at));
    if (length == 0) {
      out.append(text, kept, at - kept).append(kReplacement);
      kept = at + 1;
    }
    at += length == 0 ? 1 : length;
  }
  if (kept == 0) return text;
  return out.append(text, kept);
}

}  // namespace millrace::event
