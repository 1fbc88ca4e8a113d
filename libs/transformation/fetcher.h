#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "libs/script/host.h"

namespace millrace::transformation {

struct FetcherOptions {
  std::vector<std::string> allowed_networks;  // CIDR; as http::ClientOptions
  std::chrono::milliseconds connect_timeout{1'000};
  std::chrono::milliseconds timeout{5'000};  // all in all
  size_t max_response_bytes = 1 << 20;
  size_t max_request_bytes = 1 << 20;
  size_t max_in_flight_per_host = 16;  // more wait
  size_t max_in_flight = 256;
  size_t cache_bytes = 32 << 20;  // of answers that scripts ask to be kept
};

/// Sends what scripts fetch, on a thread of its own: connections are kept and shared, the outbound
/// guard holds, nothing (cookies, authorisation) passes from one fetch to another.
///
/// Thread-safety: any thread. `done` runs once, on the fetcher's thread, also when it is destroyed.
class Fetcher {
 public:
  /// kInvalidArgument names the network that is none.
  static StatusOr<std::unique_ptr<Fetcher>> Create(const FetcherOptions& options);
  virtual ~Fetcher() = default;

  /// `arguments_json`: [url, options] as a script gave them to fetch; options may hold method,
  /// headers, body (text, or any JSON, which is sent as JSON), timeout (ms, shortens only),
  /// cacheSeconds (GET only; answers of status 2xx and 404 are kept) and redirect: "manual" (the
  /// redirect is the answer; the default, as RudderStack's), "error", or "follow" (up to 5, the
  /// guard on each; to another origin no header goes along in which keys travel). Headers that
  /// frame the message (host, content-length, connection, ...) are left out. `cache_scope` keeps
  /// what one workspace caches from another.
  ///
  /// The answer: {"url", "status", "headers": {lower-case name: text}, "body": text}, or failed
  /// with what went wrong in words (no URL; not http or https; refused address; dns, connect, tls,
  /// timeout; answer too large). Waiting for a turn counts as time of the fetch; at one host the
  /// scopes take turns.
  virtual void Fetch(std::string_view arguments_json, std::string_view cache_scope,
                     std::function<void(script::HostAnswer)> done) = 0;
};

}  // namespace millrace::transformation
