#include "libs/http/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <memory>

namespace millrace::http {
namespace {

constexpr unsigned kFlags = CURLU_URLENCODE | CURLU_NON_SUPPORT_SCHEME;

struct CloseUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Handle = std::unique_ptr<CURLU, CloseUrl>;

std::string Part(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK || text == nullptr) return {};
  std::string copy(text);
  curl_free(text);
  return copy;
}

void Lower(std::string* text) {
  for (char& c : *text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
}

std::string Trimmed(std::string_view text) {
  const auto space = [](char c) { return static_cast<unsigned char>(c) <= ' '; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return std::string(text);
}

bool Set(CURLU* url, std::string_view text) {
  const std::string trimmed = Trimmed(text);
  const bool control = std::ranges::any_of(
      trimmed, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; });
  return !control && curl_url_set(url, CURLUPART_URL, trimmed.c_str(), kFlags) == CURLUE_OK;
}

bool Read(CURLU* handle, Url* url) {
  url->text = Part(handle, CURLUPART_URL);
  url->scheme = Part(handle, CURLUPART_SCHEME);
  url->host = Part(handle, CURLUPART_HOST, CURLU_PUNYCODE);
  if (url->host.empty()) url->host = Part(handle, CURLUPART_HOST);
  Lower(&url->scheme);
  Lower(&url->host);
  if (url->host.size() > 2 && url->host.front() == '[') {
    url->host = url->host.substr(1, url->host.size() - 2);
  }
  const std::string port = Part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
  url->port = 0;
  std::from_chars(port.data(), port.data() + port.size(), url->port);
  in6_addr address;
  url->literal = inet_pton(AF_INET, url->host.c_str(), &address) == 1 ||
                 inet_pton(AF_INET6, url->host.c_str(), &address) == 1;
  return !url->text.empty() && !url->scheme.empty();
}

}  // namespace

std::string Url::Origin() const {
  return scheme + "://" + host + ":" + std::to_string(port);
}

bool ParseUrl(std::string_view text, Url* url) {
  const Handle handle(curl_url());
  return handle != nullptr && Set(handle.get(), text) && Read(handle.get(), url);
}

bool ResolveUrl(const Url& base, std::string_view reference, Url* url) {
  const Handle handle(curl_url());
  return handle != nullptr && Set(handle.get(), base.text) && Set(handle.get(), reference) &&
         Read(handle.get(), url);
}

}  // namespace millrace::http
