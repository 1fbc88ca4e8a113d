#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/delivery/transport.h"
#include "libs/http/client.h"

namespace millrace::transports {

struct HttpTransportOptions {
  /// Networks (CIDR) that requests may go to although they are private or special.
  std::vector<std::string> allowed_networks;
  telemetry::Metrics* metrics = nullptr;  // of the client; outlives the transport
};

/// Sends requests over pooled HTTP connections, through the outbound guard. As Transport says.
class HttpTransport final : public delivery::Transport {
 public:
  /// kInvalidArgument names the network that is none.
  static StatusOr<std::unique_ptr<HttpTransport>> Create(const HttpTransportOptions& options);

  void Send(destination::Prepared request, Done done) override;
  void Run(std::chrono::milliseconds timeout) override;
  void Wake() override;
  size_t in_flight() const override;

 private:
  explicit HttpTransport(std::unique_ptr<http::Client> client) : client_(std::move(client)) {}

  const std::unique_ptr<http::Client> client_;
};

/// Makes transports with these options, one for each thread that sends.
std::function<StatusOr<std::unique_ptr<delivery::Transport>>()> HttpTransports(
    HttpTransportOptions options);

}  // namespace millrace::transports
