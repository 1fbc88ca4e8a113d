#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/bytes.h"
#include "libs/base/status.h"
#include "libs/http/server.h"
#include "libs/telemetry/metrics.h"

namespace millrace::http {

struct ClientRequest {
  std::string method = "POST";
  std::string url;
  Headers headers;
  std::string body;
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds timeout{30'000};
  size_t max_response_bytes = 64 << 10;
  bool decompress = false;  // ask for gzip and the like, and undo it; max_response_bytes is then of
                            // the plain body
};

/// `network_error` is empty when an answer came. Its class is one of dns, connect, tls, timeout,
/// refused_address (the outbound guard), invalid_request (never sent, see request_rules.h),
/// protocol, reset.
struct ClientResponse {
  int status = 0;
  Headers headers;   // names in lower case
  std::string body;  // cut at max_response_bytes
  std::string network_error;
  std::string error_class;
  std::string
      refused_address;  // with refused_address: the one, an IPv4 one where there were several
};

struct ClientOptions {
  size_t max_connections = 256;
  size_t max_connections_per_host = 64;
  /// Networks (CIDR) that the outbound guard lets through although they are private or special,
  /// e.g. "127.0.0.0/8". The guard checks the address that is connected to, so redirects and DNS
  /// rebinding do not pass it.
  std::vector<std::string> allowed_networks;
  telemetry::Metrics* metrics = nullptr;  // where dropped headers are counted; outlives the client
  std::string name_servers;  // "address:port,..." instead of those of /etc/resolv.conf; for tests
};

/// Sends HTTP requests over pooled connections (libcurl multi, HTTP/1.1 and 2). Nothing in it waits
/// for one host: names are resolved beside the work (resolver.h).
///
/// Thread-safety: one thread: Send and Run are the owner's; Wake is any thread's. `done` runs
/// inside Run.
class Client {
 public:
  static StatusOr<std::unique_ptr<Client>> Create(const ClientOptions& options);
  virtual ~Client() = default;
  virtual void Send(ClientRequest request, std::function<void(ClientResponse)> done) = 0;
  /// Works for up to `timeout` or until Wake; returns early when answers came.
  virtual void Run(std::chrono::milliseconds timeout) = 0;
  virtual void Wake() = 0;
  virtual size_t in_flight() const = 0;
};

}  // namespace millrace::http
