#include "libs/transformation/rules_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/hash.h"
#include "libs/event/event_fields.h"
#include "libs/event/repair.h"

namespace millrace::transformation::rules {
namespace {

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

std::string Lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return text;
}

std::string_view Trim(std::string_view text) {
  const auto space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

// Whether `text` is a number as JSON writes it.
bool IsJsonNumber(std::string_view text) {
  size_t at = 0;
  const auto digits = [&] {
    const size_t from = at;
    while (at < text.size() && IsDigit(text[at])) ++at;
    return at - from;
  };
  if (at < text.size() && text[at] == '-') ++at;
  const bool zero = at < text.size() && text[at] == '0';
  const size_t whole = digits();
  if (whole == 0 || (zero && whole > 1)) return false;
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (digits() == 0) return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (digits() == 0) return false;
  }
  return at == text.size();
}

std::optional<double> ToDouble(std::string_view text) {
  if (!IsJsonNumber(text)) return std::nullopt;
  const double value = std::strtod(std::string(text).c_str(), nullptr);
  if (!std::isfinite(value)) return std::nullopt;
  return value;
}

// The number in a value: its own, that in a text, 1 and 0 of true and false.
std::optional<std::string> NumberIn(std::string_view raw) {
  if (IsNumberValue(raw)) return std::string(raw);
  if (raw == "true") return "1";
  if (raw == "false") return "0";
  if (!IsTextValue(raw)) return std::nullopt;
  const std::string decoded = event::DecodeText(raw);
  const std::string_view text = Trim(decoded);
  if (!ToDouble(text)) return std::nullopt;
  return std::string(text);
}

NewValue ToInteger(std::string_view raw) {
  const auto text = NumberIn(raw);
  if (!text) return std::nullopt;
  if (text->find_first_of(".eE") == std::string::npos) return *text;  // of any size
  const auto value = ToDouble(*text);
  constexpr double kLimit = 9.2e18;
  if (!value || std::abs(*value) > kLimit) return std::nullopt;
  return std::to_string(static_cast<int64_t>(*value));
}

NewValue ToBoolean(std::string_view raw) {
  if (raw == "true" || raw == "false") return std::string(raw);
  std::string text = IsTextValue(raw) ? Lower(event::DecodeText(raw)) : std::string(raw);
  text = Trim(text);
  if (text == "true" || text == "yes") return "true";
  if (text == "false" || text == "no") return "false";
  const auto number = ToDouble(text);
  if (!number) return std::nullopt;
  return *number != 0 ? "true" : "false";
}

NewValue ToTimestamp(std::string_view raw) {
  int64_t us = 0;
  if (IsTextValue(raw) && ParseTimestamp(event::DecodeText(raw), &us)) {
    return '"' + FormatRfc3339Millis(us) + '"';
  }
  const auto text = NumberIn(raw);
  const auto number = text && raw != "true" && raw != "false" ? ToDouble(*text) : std::nullopt;
  constexpr double kMillisFrom = 1e11;  // seconds until the year 5138
  constexpr double kLatest = 2.5e14;    // ms; the year 9892
  if (!number || std::abs(*number) > kLatest) return std::nullopt;
  const double scale = std::abs(*number) < kMillisFrom ? 1e6 : 1e3;
  return '"' + FormatRfc3339Millis(static_cast<int64_t>(std::floor(*number * scale))) + '"';
}

bool IsAscii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool BeginsCharacter(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
}

// Where, in bytes, character `number` of a text that is not all ASCII begins; the end for the one
// after the last.
size_t BeginOfCharacter(std::string_view text, size_t number) {
  size_t at = 0;
  for (; at < text.size(); ++at) {
    if (BeginsCharacter(text[at]) && number-- == 0) break;
  }
  return at;
}

}  // namespace

bool IsTextValue(std::string_view raw) {
  return !raw.empty() && raw.front() == '"';
}
bool IsNumberValue(std::string_view raw) {
  return !raw.empty() && (raw.front() == '-' || IsDigit(raw.front()));
}

NewValue HashValue(std::string_view raw, const Hashing& hashing) {
  if (!IsTextValue(raw) && !IsNumberValue(raw)) return std::nullopt;
  std::string text = event::DecodeText(raw);
  if (hashing.normalize) text = Lower(std::string(Trim(text)));
  text.insert(0, hashing.salt);
  return '"' + (hashing.md5 ? Md5Hex(text) : Sha256Hex(text)) + '"';
}

NewValue MaskValue(std::string_view raw, const Masking& masking) {
  if (!IsTextValue(raw) && !IsNumberValue(raw)) return std::nullopt;
  const bool plain = IsTextValue(raw) && raw.find('\\') == std::string_view::npos;
  std::string decoded;
  if (!plain) decoded = event::DecodeText(raw);
  const std::string_view text = plain ? raw.substr(1, raw.size() - 2) : decoded;
  std::string_view hidden = text;
  if (masking.email) {
    const size_t at = text.rfind('@');
    if (at != std::string::npos) hidden = hidden.substr(0, at);
  }
  const bool ascii = IsAscii(hidden);
  const auto count =
      ascii ? hidden.size() : static_cast<size_t>(std::ranges::count_if(hidden, BeginsCharacter));
  const auto begin = [&](size_t number) {
    return ascii ? number : BeginOfCharacter(hidden, number);
  };
  // What is so short that nothing would be hidden is hidden whole.
  const bool all = masking.keep_first + masking.keep_last >= count;
  const size_t first = all ? 0 : masking.keep_first;
  const size_t last = all ? 0 : masking.keep_last;
  std::string out;
  out.reserve(text.size() + 2);
  if (plain) out += '"';
  out += hidden.substr(0, begin(first));
  out.append(count - first - last, '*');
  out += text.substr(begin(count - last));
  if (!plain) return event::QuoteJson(out);
  out += '"';
  return out;
}

NewValue CastValue(std::string_view raw, CastType type) {
  const bool scalar = !raw.empty() && raw != "null" && raw.front() != '{' && raw.front() != '[';
  if (!scalar) return std::nullopt;
  switch (type) {
    case CastType::kString:
      return IsTextValue(raw) ? std::string(raw) : '"' + std::string(raw) + '"';
    case CastType::kNumber:
      return NumberIn(raw);
    case CastType::kInteger:
      return ToInteger(raw);
    case CastType::kBoolean:
      return ToBoolean(raw);
    case CastType::kTimestamp:
      return ToTimestamp(raw);
  }
  return std::nullopt;
}

namespace {

/// What RE2::GlobalReplace does, but it ends once `made` has more than `most` bytes.
class Replacer {
 public:
  Replacer(std::string_view text, const Replacing& replacing, size_t most)
      : text_(text.data(), text.size()),
        replacing_(replacing),
        groups_(1 + RE2::MaxSubmatch(replacing.with)),
        most_(most) {}

  /// False: there was no match.
  bool Run(std::string* made) {
    const char* at = text_.data();
    const char* const end = at + text_.size();
    const char* last = nullptr;  // where the match before ended
    while (at <= end && made->size() <= most_ &&
           replacing_.pattern->Match(text_, static_cast<size_t>(at - text_.data()), text_.size(),
                                     RE2::UNANCHORED, found_.data(), groups_)) {
      made->append(at, static_cast<size_t>(found_[0].data() - at));
      at = found_[0].data();
      if (found_[0].empty() && at == last) {  // not twice at one place: on by a character
        if (at == end) return true;
        do made->push_back(*at++);
        while (at < end && !BeginsCharacter(*at));
        continue;
      }
      AppendReplacement(made);
      at += found_[0].size();
      last = at;
    }
    if (at < end) made->append(at, static_cast<size_t>(end - at));
    return last != nullptr;
  }

 private:
  void AppendReplacement(std::string* made) {
    const std::string& with = replacing_.with;
    for (size_t i = 0; i < with.size() && made->size() <= most_; ++i) {
      if (with[i] != '\\') {
        made->push_back(with[i]);
      } else if (IsDigit(with[++i])) {  // checked when it was compiled
        const re2::StringPiece& group = found_[static_cast<size_t>(with[i] - '0')];
        made->append(group.data(), group.size());
      } else {
        made->push_back('\\');
      }
    }
  }

  const re2::StringPiece text_;
  const Replacing& replacing_;
  const int groups_;
  const size_t most_;
  std::array<re2::StringPiece, 10> found_;
};

}  // namespace

NewValue ReplaceText(std::string_view raw, const Replacing& replacing) {
  if (!IsTextValue(raw)) return std::nullopt;
  const std::string text = event::DecodeText(raw);
  std::string made;
  if (!Replacer(text, replacing, raw.size() + kMaxGrowthBytes).Run(&made)) return std::nullopt;
  return event::QuoteJson(event::RepairUtf8(std::move(made)));  // \C matches half a character
}

NewValue LowercaseText(std::string_view raw) {
  if (!IsTextValue(raw)) return std::nullopt;
  const std::string text = event::DecodeText(raw);
  std::string lower = Lower(text);
  if (lower == text) return std::nullopt;
  return event::QuoteJson(lower);
}

double SamplePoint(std::string_view id) {
  uint64_t hash =
      0xcbf29ce484222325;  // FNV-1a, then mixed: FNV's high bits are poor for short texts
  for (const char c : id) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  hash ^= hash >> 31;
  return static_cast<double>(hash >> 11) * 0x1.0p-53;
}

}  // namespace millrace::transformation::rules
