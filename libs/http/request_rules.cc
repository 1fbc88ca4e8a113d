#include "libs/http/request_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace millrace::http {
namespace {

constexpr std::array<std::string_view, 11> kOwnHeaders = {
    "connection", "content-length", "expect",   "host",    "http2-settings",   "keep-alive",
    "te",         "trailer",        "trailers", "upgrade", "transfer-encoding"};
constexpr std::string_view kProxyPrefix = "proxy-";
constexpr std::string_view kAnyProxyHeader = "proxy-*";
constexpr size_t kMaxMethod = 32;
constexpr size_t kShown = 100;  // bytes of a name in a message

char Lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

bool SameName(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return Lower(x) == Lower(y); });
}

bool IsToken(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || kMarks.find(c) != kMarks.npos;
  });
}

bool IsControl(char c) {
  return static_cast<unsigned char>(c) < ' ' || c == 0x7f;
}

// The list's entry for a header that is the client's own; empty for another.
std::string_view OwnHeader(std::string_view name) {
  if (SameName(name.substr(0, kProxyPrefix.size()), kProxyPrefix)) return kAnyProxyHeader;
  const auto own = std::ranges::find_if(
      kOwnHeaders, [&](std::string_view each) { return SameName(each, name); });
  return own == kOwnHeaders.end() ? std::string_view() : *own;
}

std::string MethodFault(const ClientRequest& request) {
  const std::string& method = request.method;
  if (!IsToken(method) || method.size() > kMaxMethod) return "the method is not valid";
  if (SameName(method, "CONNECT") || SameName(method, "TRACE")) {
    return fmt::format("the method {} may not be used", method);
  }
  if (SameName(method, "HEAD") && !request.body.empty()) return "a HEAD request has no body";
  return {};
}

std::string UrlFault(const ClientRequest& request) {
  const std::string_view url = request.url;
  if (std::ranges::any_of(url, IsControl)) return "the URL holds a control character";
  if (!SameName(url.substr(0, 7), "http://") && !SameName(url.substr(0, 8), "https://")) {
    return "the URL does not begin with http:// or https://";
  }
  return {};
}

std::string HeaderFault(const std::pair<std::string, std::string>& header) {
  const auto& [name, value] = header;
  if (!IsToken(name)) {
    std::string shown = name.substr(0, kShown);
    std::ranges::replace_if(shown, IsControl, '?');
    return fmt::format("the header name \"{}\" is not valid", shown);
  }
  if (std::ranges::any_of(value, [](char c) { return IsControl(c) && c != '\t'; })) {
    return fmt::format("the header {} holds a control character", name.substr(0, kShown));
  }
  return {};
}

// Each name once, the last value in the place of the first. Requests have few headers.
void Merge(Headers& headers) {
  size_t kept = 0;
  for (size_t i = 0; i < headers.size(); ++i) {
    const auto begin = headers.begin();
    const auto end = begin + static_cast<std::ptrdiff_t>(kept);
    const auto same = std::find_if(
        begin, end, [&](const auto& each) { return SameName(each.first, headers[i].first); });
    if (same != end) {
      same->second = std::move(headers[i].second);
    } else if (kept++ != i) {
      headers[kept - 1] = std::move(headers[i]);
    }
  }
  headers.resize(kept);
}

}  // namespace

std::string TidyRequest(ClientRequest& request, std::vector<std::string_view>* dropped) {
  if (std::string fault = MethodFault(request); !fault.empty()) return fault;
  if (std::string fault = UrlFault(request); !fault.empty()) return fault;
  std::erase_if(request.headers, [&](const auto& header) {
    const std::string_view own = OwnHeader(header.first);
    if (!own.empty()) dropped->push_back(own);
    return !own.empty();
  });
  for (const auto& header : request.headers) {
    if (std::string fault = HeaderFault(header); !fault.empty()) return fault;
  }
  Merge(request.headers);
  return {};
}

}  // namespace millrace::http
