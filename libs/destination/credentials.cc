#include "libs/destination/credentials.h"

#include <algorithm>

#include "libs/http/url.h"

namespace millrace::destination {
namespace {

/// Where the authority of a URL begins, and where it ends for a reader that takes a backslash for a
/// slash, as browsers do. Both are the URL's end when there is none.
std::pair<size_t, size_t> Authority(std::string_view url) {
  const size_t colon = url.find("://");
  if (colon == std::string_view::npos) return {url.size(), url.size()};
  return {colon + 3, std::min(url.find_first_of("/?#\\", colon + 3), url.size())};
}

bool Matches(const http::Url& url, std::string_view origin) {
  constexpr std::string_view kAny = "://*.";
  const size_t star = origin.find(kAny);
  std::string text(origin);
  if (star != std::string_view::npos) text.erase(star + 3, 2);
  http::Url wanted;
  if (!http::ParseUrl(text, &wanted)) return false;
  if (star == std::string_view::npos) return url.Origin() == wanted.Origin();
  return url.scheme == wanted.scheme && url.port == wanted.port &&
         url.host.size() > wanted.host.size() + 1 && url.host.ends_with("." + wanted.host);
}

}  // namespace

bool HasOrigin(std::string_view url, const std::vector<std::string>& origins) {
  // Nearly always it is the configured URL itself.
  if (std::find(origins.begin(), origins.end(), url) != origins.end()) return true;
  http::Url parsed;
  return http::ParseUrl(url, &parsed) &&
         std::any_of(origins.begin(), origins.end(),
                     [&](const std::string& origin) { return Matches(parsed, origin); });
}

void RemoveUser(std::string* url) {
  const auto [begin, end] = Authority(*url);
  const size_t at = std::string_view(*url).substr(0, end).rfind('@');
  if (at != std::string::npos && at >= begin) url->erase(begin, at + 1 - begin);
}

bool HasPlainAuthority(std::string_view url) {
  const auto [begin, end] = Authority(url);
  if (begin == end || (end < url.size() && url[end] == '\\')) return false;
  const std::string_view authority = url.substr(begin, end - begin);
  if (std::count(authority.begin(), authority.end(), '@') > 1) return false;
  return std::all_of(authority.begin(), authority.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           byte >= 0x80 ||
           std::string_view("-._~!$&'()*+,;=%:@[]").find(c) != std::string_view::npos;
  });
}

}  // namespace millrace::destination
