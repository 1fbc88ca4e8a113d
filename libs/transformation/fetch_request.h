#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "libs/http/client.h"
#include "libs/http/url.h"
#include "libs/script/host.h"

namespace millrace::transformation {

/// One fetch as a script asked for it, checked.
struct FetchRequest {
  enum class Redirect : uint8_t { kManual, kFollow, kError };

  http::Url url;
  std::string method = "GET";
  http::Headers headers;  // names in lower case
  std::string body;
  std::chrono::milliseconds timeout{0};  // 0: none of its own
  std::chrono::seconds cache{0};         // 0: not to be kept
  Redirect redirect = Redirect::kManual;
};

/// Reads [url, options]. Nothing, or what the script is told that it did wrong.
std::optional<script::HostAnswer> ParseFetch(std::string_view arguments_json,
                                             size_t max_request_bytes, FetchRequest* request);

/// Turns `request` into the one that the redirect `response` asks for. False when there is none to
/// follow. On another origin no header goes along that could be a credential.
bool FollowRedirect(const http::ClientResponse& response, FetchRequest* request);

/// {"url", "status", "headers", "body"}.
std::string FetchAnswer(const FetchRequest& request, http::ClientResponse response);

/// Why no answer came, in words.
script::HostAnswer FetchFailure(const FetchRequest& request, const http::ClientResponse& response);
script::HostAnswer FetchTimeout(const FetchRequest& request);
script::HostAnswer FetchFault(std::string message, std::string error_name = "Error");

}  // namespace millrace::transformation
