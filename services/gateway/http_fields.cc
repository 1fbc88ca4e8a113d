#include "services/gateway/http_fields.h"

#include "libs/base/hash.h"

namespace millrace::gateway {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

std::string DecodePercent(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = high >= 0 ? HexDigit(text[i + 2]) : -1;
    if (low >= 0) {
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

}  // namespace

std::string BasicUser(std::string_view authorization) {
  constexpr std::string_view kScheme = "basic ";
  if (authorization.size() <= kScheme.size()) return {};
  for (size_t i = 0; i < kScheme.size(); ++i) {
    const char c = authorization[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c) != kScheme[i]) return {};
  }
  authorization.remove_prefix(kScheme.size());
  while (!authorization.empty() && authorization.front() == ' ') authorization.remove_prefix(1);
  std::string decoded;
  if (!DecodeBase64(authorization, &decoded)) return {};
  return decoded.substr(0, decoded.find(':'));
}

std::string QueryParameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const size_t stop = query.find('&');
    const std::string_view pair = query.substr(0, stop);
    const size_t equals = pair.find('=');
    if (DecodePercent(pair.substr(0, equals)) == name) {
      return equals == std::string_view::npos ? std::string()
                                              : DecodePercent(pair.substr(equals + 1));
    }
    if (stop == std::string_view::npos) break;
    query.remove_prefix(stop + 1);
  }
  return {};
}

}  // namespace millrace::gateway
