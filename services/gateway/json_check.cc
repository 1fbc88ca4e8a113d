#include "services/gateway/json_check.h"

#include <fmt/format.h>

namespace millrace::gateway {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

/// Bytes of the UTF-8 sequence at `at`; 0 when it is not a valid one (RFC 3629).
size_t Utf8Length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return IsContinuation(static_cast<char>(byte(1))) ? 2 : 0;
  const bool two = IsContinuation(static_cast<char>(byte(1))) && IsContinuation(static_cast<char>(byte(2)));
  if (first >= 0xe0 && first <= 0xef) {
    if (!two || (first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f)) return 0;
    return 3;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (!two || !IsContinuation(static_cast<char>(byte(3)))) return 0;
    if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f)) return 0;
    return 4;
  }
  return 0;
}

class Checker {
 public:
  Checker(std::string_view text, int max_depth, std::string* out, uint32_t* repairs)
      : text_(text), max_depth_(max_depth), out_(out), repairs_(repairs) {}

  bool Run() {
    Space();
    if (!Value(0)) return false;
    Space();
    return at_ == text_.size() || Fail("text after the value");
  }
  const std::string& fault() const { return fault_; }

 private:
  bool Fail(std::string_view what) {
    if (fault_.empty()) fault_ = fmt::format("{} at byte {}", what, at_);
    return false;
  }
  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void Copy() { *out_ += text_[at_++]; }
  void Space() {
    while (at_ < text_.size() &&
           (Peek() == ' ' || Peek() == '\t' || Peek() == '\n' || Peek() == '\r')) {
      ++at_;
    }
  }

  bool Value(int depth) {
    if (depth > max_depth_) return Fail("nested too deeply");
    switch (Peek()) {
      case '{': return Container('}', true, depth);
      case '[': return Container(']', false, depth);
      case '"': return String();
      case 't': return Word("true");
      case 'f': return Word("false");
      case 'n': return Word("null");
      default: return Number();
    }
  }

  bool Word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return Fail("unknown word");
    at_ += word.size();
    *out_ += word;
    return true;
  }

  bool Container(char close, bool object, int depth) {
    Copy();
    Space();
    if (Peek() == close) {
      Copy();
      return true;
    }
    while (true) {
      Space();
      if (object) {
        if (Peek() != '"') return Fail("expected a key");
        if (!String()) return false;
        Space();
        if (Peek() != ':') return Fail("expected ':'");
        Copy();
        Space();
      }
      if (!Value(depth + 1)) return false;
      Space();
      if (Peek() == ',') {
        Copy();
        continue;
      }
      if (Peek() != close) return Fail("expected ',' or the end of the container");
      Copy();
      return true;
    }
  }

  bool Number() {
    const size_t start = at_;
    if (Peek() == '-') ++at_;
    if (Peek() == '0') ++at_;
    else if (!Digits()) return Fail("not a value");
    if (Peek() == '.') {
      ++at_;
      if (!Digits()) return Fail("digits missing");
    }
    if (Peek() == 'e' || Peek() == 'E') {
      ++at_;
      if (Peek() == '+' || Peek() == '-') ++at_;
      if (!Digits()) return Fail("digits missing");
    }
    *out_ += text_.substr(start, at_ - start);
    return true;
  }

  bool Digits() {
    const size_t start = at_;
    while (IsDigit(Peek())) ++at_;
    return at_ > start;
  }

  bool String() {
    Copy();
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') {
        Copy();
        return true;
      }
      if (c == '\\') {
        if (!Escape()) return false;
        continue;
      }
      if (static_cast<unsigned char>(c) < 0x20) return Fail("control character in a string");
      const size_t length = Utf8Length(text_, at_);
      if (length == 0) {
        *out_ += kReplacement;
        ++*repairs_;
        ++at_;
        continue;
      }
      *out_ += text_.substr(at_, length);
      at_ += length;
    }
    return Fail("string without an end");
  }

  /// The code unit of \uXXXX at `at`, or -1.
  int Unit(size_t at) const {
    if (text_.substr(at, 2) != "\\u" || at + 6 > text_.size()) return -1;
    int unit = 0;
    for (size_t i = at + 2; i < at + 6; ++i) {
      const char c = text_[i];
      const int digit = IsDigit(c)               ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
      if (digit < 0) return -1;
      unit = unit * 16 + digit;
    }
    return unit;
  }

  bool Escape() {
    const char kind = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (kind != 'u') {
      if (std::string_view("\"\\/bfnrt").find(kind) == std::string_view::npos || kind == '\0') {
        return Fail("unknown escape");
      }
      Copy();
      Copy();
      return true;
    }
    const int unit = Unit(at_);
    if (unit < 0) return Fail("broken \\u escape");
    const bool high = unit >= 0xd800 && unit <= 0xdbff;
    const int low = high ? Unit(at_ + 6) : -1;
    if (high && low >= 0xdc00 && low <= 0xdfff) {
      *out_ += text_.substr(at_, 12);
      at_ += 12;
    } else if (unit >= 0xd800 && unit <= 0xdfff) {
      *out_ += "\\ufffd";
      ++*repairs_;
      at_ += 6;
    } else {
      *out_ += text_.substr(at_, 6);
      at_ += 6;
    }
    return true;
  }

  const std::string_view text_;
  const int max_depth_;
  std::string* const out_;
  uint32_t* const repairs_;
  size_t at_ = 0;
  std::string fault_;
};

}  // namespace

bool CheckAndRepairJson(std::string_view text, int max_depth, std::string* out, uint32_t* repairs,
                        std::string* fault) {
  out->clear();
  out->reserve(text.size());
  *repairs = 0;
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);  // a byte-order mark
  Checker checker(text, max_depth, out, repairs);
  if (checker.Run()) return true;
  *fault = checker.fault();
  return false;
}

}  // namespace millrace::gateway
