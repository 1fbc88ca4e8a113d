#include "libs/secrets/mask.h"

#include <algorithm>

#include "libs/json/writer.h"

namespace millrace::secrets {
namespace {

constexpr std::string_view kMask = "***";
constexpr size_t kShortestWord = 4;

bool IsLetter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// Whether a secret may stand in ordinary text by chance.
bool IsOrdinary(std::string_view secret) {
  return secret.size() < 6 ||
         (secret.size() < 12 && std::all_of(secret.begin(), secret.end(), IsLetter));
}

bool IsOneOf(char c, std::string_view set) {
  return set.find(c) != std::string_view::npos;
}

/// Whether the `size` bytes at `at` are a value of their own.
bool IsValue(std::string_view text, size_t at, size_t size) {
  const size_t end = at + size;
  if (at == 0 || end == text.size()) {
    if (size == text.size()) return true;
    if (at == 0) return false;
  }
  const char after = end == text.size() ? ' ' : text[end];
  if (IsOneOf(text[at - 1], "\"'`")) return IsOneOf(after, "\"'`\\");
  size_t before = at;
  while (before > 1 && text[before - 1] == ' ') --before;
  const bool assigned = text[before - 1] == '=' || (before == at && text[before - 1] == ':');
  return assigned && IsOneOf(after, " \t\r\n&;,@)}]'\"");
}

/// Whether nothing that belongs to a word is before or behind it.
bool IsWord(std::string_view text, size_t at, size_t size) {
  const auto word = [](char c) {
    return IsLetter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-' || (c & 0x80) != 0;
  };
  const size_t end = at + size;
  return (at == 0 || !word(text[at - 1])) && (end == text.size() || !word(text[end]));
}

/// As encodeURIComponent writes it.
std::string PercentEncoded(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-_.~!*'()").find(c) != std::string_view::npos;
    if (plain) {
      encoded.push_back(c);
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded += {'%', kHex[byte >> 4], kHex[byte & 15]};
  }
  return encoded;
}

/// As fetches write it in a URL that they were given unencoded: see libs/http/url.cc.
std::string UrlEncoded(std::string_view text, std::string_view space) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == ' ') {
      encoded += space;
    } else if (byte > ' ' && byte < 0x7f) {
      encoded.push_back(c);
    } else {
      encoded += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return encoded;
}

}  // namespace

Mask::Mask(const std::vector<std::string>& secrets) {
  for (const std::string& secret : secrets) {
    if (secret.empty()) continue;
    const std::string quoted = json::Quote(secret);
    for (std::string form : {secret, quoted.substr(1, quoted.size() - 2), PercentEncoded(secret),
                             UrlEncoded(secret, "%20"), UrlEncoded(secret, "+")}) {
      const bool known = std::any_of(forms_.begin(), forms_.end(),
                                     [&](const Form& one) { return one.text == form; });
      if (!known) forms_.push_back({std::move(form), IsOrdinary(secret)});
    }
  }
  std::stable_sort(forms_.begin(), forms_.end(),
                   [](const Form& a, const Form& b) { return a.text.size() > b.text.size(); });
}

std::string Mask::Replace(std::string text, bool words) const {
  for (const auto& [form, ordinary] : forms_) {
    for (size_t at = text.find(form); at != std::string::npos; at = text.find(form, at)) {
      if (ordinary && !IsValue(text, at, form.size()) &&
          !(words && form.size() >= kShortestWord && IsWord(text, at, form.size()))) {
        ++at;
        continue;
      }
      text.replace(at, form.size(), kMask);
      at += kMask.size();
    }
  }
  return text;
}

std::string Mask::Apply(std::string text) const {
  return Replace(std::move(text), true);
}

std::string Mask::ApplyToMessage(std::string text) const {
  return Replace(std::move(text), false);
}

}  // namespace millrace::secrets
