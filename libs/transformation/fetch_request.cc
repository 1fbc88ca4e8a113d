#include "libs/transformation/fetch_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <map>

#include "libs/base/text.h"
#include "libs/event/event_fields.h"
#include "libs/event/repair.h"
#include "libs/event/scan.h"
#include "libs/json/writer.h"

namespace millrace::transformation {
namespace {

using event::DecodeText;
using event::scan::Elements;
using event::scan::Member;
using event::scan::Members;

constexpr size_t kMaxUrlBytes = 16 << 10;
constexpr size_t kMaxHeaderBytes = 32 << 10;
constexpr long kMaxCacheSeconds = 86'400;

// The connection is ours: what frames a message or is for one hop only is not the script's to say.
constexpr std::array<std::string_view, 13> kOwnHeaders = {"accept-encoding",
                                                          "connection",
                                                          "content-length",
                                                          "expect",
                                                          "host",
                                                          "keep-alive",
                                                          "proxy-authorization",
                                                          "proxy-connection",
                                                          "te",
                                                          "trailer",
                                                          "transfer-encoding",
                                                          "upgrade",
                                                          "via"};
// What goes along to another origin: nothing in which keys travel.
constexpr std::array<std::string_view, 4> kPortableHeaders = {"accept", "accept-language",
                                                              "content-type", "user-agent"};

bool IsToken(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || kMarks.find(c) != kMarks.npos;
  });
}

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

template <typename F>
bool ForEachElement(std::string_view json, F&& use) {
  const char* const end = json.data() + json.size();
  Elements elements(event::scan::SkipSpace(json.data(), end), end);
  const char* at = nullptr;
  while (elements.Next(&at)) {
    const char* const after = event::scan::SkipValue(at, end);
    if (after == nullptr) return false;
    use(std::string_view(at, static_cast<size_t>(after - at)));
    elements.Advance(after);
  }
  return elements.at() != nullptr;
}

bool IsObject(std::string_view raw) {
  return !raw.empty() && raw.front() == '{';
}
bool IsArray(std::string_view raw) {
  return !raw.empty() && raw.front() == '[';
}
bool IsText(std::string_view raw) {
  return !raw.empty() && raw.front() == '"';
}
bool IsNothing(std::string_view raw) {
  return raw.empty() || raw == "null" || raw == "\"\"";
}

// A scalar as JavaScript would turn it into text.
std::string ScalarText(std::string_view raw) {
  return IsText(raw) ? DecodeText(raw) : std::string(raw);
}

double Number(std::string_view raw) {
  if (raw.empty() || (raw.front() != '-' && (raw.front() < '0' || raw.front() > '9'))) return 0;
  return std::strtod(std::string(raw).c_str(), nullptr);
}

// The members of an object, or [name, value] pairs.
std::vector<std::pair<std::string, std::string>> ReadHeaders(std::string_view raw) {
  std::vector<std::pair<std::string, std::string>> headers;
  if (IsObject(raw)) {
    Members members(raw.data(), raw.data() + raw.size());
    Member member;
    while (members.Next(&member)) {
      std::string value;
      if (IsArray(member.value)) {
        ForEachElement(member.value, [&](std::string_view element) {
          value.append(value.empty() ? "" : ", ").append(ScalarText(element));
        });
      } else {
        value = ScalarText(member.value);
      }
      headers.emplace_back(DecodeText(member.key), std::move(value));
    }
  } else if (IsArray(raw)) {
    ForEachElement(raw, [&](std::string_view pair) {
      std::vector<std::string> parts;
      if (IsArray(pair)) {
        ForEachElement(pair, [&](std::string_view part) { parts.push_back(ScalarText(part)); });
      }
      if (parts.size() == 2) headers.emplace_back(std::move(parts[0]), std::move(parts[1]));
    });
  }
  return headers;
}

std::optional<script::HostAnswer> TakeHeaders(std::string_view raw, FetchRequest* request) {
  size_t bytes = 0;
  for (auto& [name, value] : ReadHeaders(raw)) {
    std::string lower = Lower(name);
    if (std::ranges::find(kOwnHeaders, lower) != kOwnHeaders.end()) continue;
    const bool broken = std::ranges::any_of(value, [](char c) {
      return (static_cast<unsigned char>(c) < ' ' && c != '\t') || c == 0x7f;
    });
    if (!IsToken(name) || broken) {
      return FetchFault(
          fmt::format("fetch: \"{}\" is no header that can be sent", ClipText(name, 100)),
          "TypeError");
    }
    bytes += name.size() + value.size();
    std::erase_if(request->headers, [&](const auto& header) { return header.first == lower; });
    request->headers.emplace_back(std::move(lower), std::move(value));
  }
  if (bytes > kMaxHeaderBytes) {
    return FetchFault(fmt::format("fetch: headers are larger than {} bytes", kMaxHeaderBytes));
  }
  return std::nullopt;
}

std::optional<script::HostAnswer> TakeMethod(std::string_view raw, FetchRequest* request) {
  if (IsNothing(raw)) return std::nullopt;
  std::string method = ScalarText(raw);
  for (char& c : method) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (!IsToken(method) || method.size() > 32 || method == "CONNECT" || method == "TRACE" ||
      method == "TRACK") {
    return FetchFault(fmt::format("fetch: method \"{}\" is not allowed", ClipText(method, 32)),
                      "TypeError");
  }
  request->method = std::move(method);
  return std::nullopt;
}

std::optional<script::HostAnswer> TakeBody(std::string_view raw, size_t max_bytes,
                                           FetchRequest* request) {
  if (raw.empty() || raw == "null") return std::nullopt;
  if (request->method == "GET" || request->method == "HEAD") {
    return FetchFault("Request with GET/HEAD method cannot have body", "TypeError");
  }
  const bool text = IsText(raw);
  request->body = text ? DecodeText(raw) : std::string(raw);
  if (request->body.size() > max_bytes) {
    return FetchFault(fmt::format("fetch: the body is larger than {} bytes", max_bytes));
  }
  const auto is_type = [](const auto& header) { return header.first == "content-type"; };
  if (std::ranges::none_of(request->headers, is_type)) {
    request->headers.emplace_back("content-type",
                                  text ? "text/plain;charset=UTF-8" : "application/json");
  }
  return std::nullopt;
}

void TakeRest(const std::map<std::string, std::string_view>& options, FetchRequest* request) {
  const auto option = [&](const char* name) {
    const auto found = options.find(name);
    return found == options.end() ? std::string_view() : found->second;
  };
  const double timeout = Number(option("timeout"));
  if (timeout > 0) {
    request->timeout = std::chrono::milliseconds(static_cast<long>(std::clamp(timeout, 1.0, 1e9)));
  }
  const double seconds = Number(option("cacheSeconds"));
  if (seconds >= 1 && request->method == "GET") {
    request->cache = std::chrono::seconds(
        static_cast<long>(std::min(seconds, static_cast<double>(kMaxCacheSeconds))));
  }
  const std::string redirect = DecodeText(option("redirect"));
  if (redirect == "follow") request->redirect = FetchRequest::Redirect::kFollow;
  if (redirect == "error") request->redirect = FetchRequest::Redirect::kError;
}

std::optional<script::HostAnswer> TakeUrl(std::string_view raw, FetchRequest* request) {
  if (IsNothing(raw)) return FetchFault("fetch url is required");
  const std::string text = ScalarText(raw);
  if (text.size() > kMaxUrlBytes) {
    return FetchFault(fmt::format("fetch: the URL is longer than {} bytes", kMaxUrlBytes));
  }
  http::Url& url = request->url;
  if (!http::ParseUrl(text, &url)) {
    const std::string start = Lower(text.substr(0, 8));
    if (start.starts_with("http://") || start.starts_with("https://")) {
      return FetchFault(fmt::format("Invalid URL: {}", ClipText(text, 200)), "TypeError");
    }
    return FetchFault("invalid protocol, only http and https are supported");
  }
  if (url.scheme != "http" && url.scheme != "https") {
    return FetchFault("invalid protocol, only http and https are supported");
  }
  return std::nullopt;
}

script::HostAnswer RequestFailed(const FetchRequest& request, std::string_view reason) {
  return FetchFault(fmt::format("request to {} failed, reason: {}", request.url.text, reason),
                    "FetchError");
}

}  // namespace

script::HostAnswer FetchFault(std::string message, std::string error_name) {
  return {.failed = true,
          .text = event::RepairUtf8(std::move(message)),
          .error_name = std::move(error_name)};
}

std::optional<script::HostAnswer> ParseFetch(std::string_view arguments_json,
                                             size_t max_request_bytes, FetchRequest* request) {
  std::vector<std::string_view> arguments;
  ForEachElement(arguments_json, [&](std::string_view raw) { arguments.push_back(raw); });
  if (auto fault = TakeUrl(arguments.empty() ? "" : arguments[0], request)) return fault;
  std::map<std::string, std::string_view> options;
  if (arguments.size() > 1 && IsObject(arguments[1])) {
    Members members(arguments[1].data(), arguments[1].data() + arguments[1].size());
    Member member;
    while (members.Next(&member)) options[DecodeText(member.key)] = member.value;
  }
  if (auto fault = TakeMethod(options["method"], request)) return fault;
  if (auto fault = TakeHeaders(options["headers"], request)) return fault;
  if (auto fault = TakeBody(options["body"], max_request_bytes, request)) return fault;
  TakeRest(options, request);
  return std::nullopt;
}

bool FollowRedirect(const http::ClientResponse& response, FetchRequest* request) {
  const int status = response.status;
  if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308) {
    return false;
  }
  const auto is_location = [](const auto& header) { return header.first == "location"; };
  const auto location = std::ranges::find_if(response.headers, is_location);
  http::Url url;
  if (location == response.headers.end() ||
      !http::ResolveUrl(request->url, location->second, &url)) {
    return false;
  }
  if (url.Origin() != request->url.Origin()) {
    std::erase_if(request->headers, [](const auto& header) {
      return std::ranges::find(kPortableHeaders, header.first) == kPortableHeaders.end();
    });
  }
  const bool to_get = status == 303 || (status < 303 && request->method == "POST");
  if (to_get && request->method != "GET" && request->method != "HEAD") {
    request->method = "GET";
    request->body.clear();
    std::erase_if(request->headers,
                  [](const auto& header) { return header.first == "content-type"; });
  }
  request->url = std::move(url);
  return true;
}

std::string FetchAnswer(const FetchRequest& request, http::ClientResponse response) {
  std::map<std::string, std::string> headers;
  for (auto& [name, value] : response.headers) {
    std::string& text = headers[event::RepairUtf8(name)];
    text.append(text.empty() ? "" : ", ").append(event::RepairUtf8(std::move(value)));
  }
  json::ObjectWriter listed;
  for (const auto& [name, text] : headers) listed.Text(name, text);
  return json::ObjectWriter()
      .Text("url", event::RepairUtf8(request.url.text))
      .Number("status", response.status)
      .Raw("headers", listed.Take())
      .Text("body", event::RepairUtf8(std::move(response.body)))
      .Take();
}

script::HostAnswer FetchFailure(const FetchRequest& request, const http::ClientResponse& response) {
  const http::Url& url = request.url;
  if (response.error_class == "refused_address") {
    if (url.literal) {
      return FetchFault("blocked request to non-public address: " + response.refused_address);
    }
    return RequestFailed(request, fmt::format("cannot use {} as IP address for {}",
                                              response.refused_address, url.host));
  }
  if (response.error_class == "dns") {
    return RequestFailed(request, "unable to resolve IP address for " + url.host);
  }
  if (response.error_class == "timeout") return FetchTimeout(request);
  return RequestFailed(request, response.network_error);
}

script::HostAnswer FetchTimeout(const FetchRequest& request) {
  return FetchFault("network timeout at: " + request.url.text, "FetchError");
}

}  // namespace millrace::transformation
