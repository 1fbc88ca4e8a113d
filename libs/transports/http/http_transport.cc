#include "libs/transports/http/http_transport.h"

#include <utility>

namespace millrace::transports {

StatusOr<std::unique_ptr<HttpTransport>> HttpTransport::Create(
    const HttpTransportOptions& options) {
  http::ClientOptions client_options;
  // The bounds are each destination's own; a shared one would let a hanging tool slow the others.
  client_options.max_connections = 16'384;
  client_options.max_connections_per_host = 4'096;
  client_options.allowed_networks = options.allowed_networks;
  client_options.metrics = options.metrics;
  MR_ASSIGN_OR_RETURN(auto client, http::Client::Create(client_options));
  return std::unique_ptr<HttpTransport>(new HttpTransport(std::move(client)));
}

void HttpTransport::Send(destination::Prepared request, Done done) {
  client_->Send({.method = std::move(request.method),
                 .url = std::move(request.url),
                 .headers = std::move(request.headers),
                 .body = std::move(request.body),
                 .connect_timeout = request.connect_timeout,
                 .timeout = request.timeout},
                [done = std::move(done)](http::ClientResponse response) {
                  done({.status = response.status,
                        .headers = std::move(response.headers),
                        .body = std::move(response.body),
                        .network_error = std::move(response.network_error),
                        .error_class = std::move(response.error_class)});
                });
}

void HttpTransport::Run(std::chrono::milliseconds timeout) {
  client_->Run(timeout);
}

void HttpTransport::Wake() {
  client_->Wake();
}

size_t HttpTransport::in_flight() const {
  return client_->in_flight();
}

std::function<StatusOr<std::unique_ptr<delivery::Transport>>()> HttpTransports(
    HttpTransportOptions options) {
  return [options = std::move(options)]() -> StatusOr<std::unique_ptr<delivery::Transport>> {
    MR_ASSIGN_OR_RETURN(auto transport, HttpTransport::Create(options));
    return std::unique_ptr<delivery::Transport>(std::move(transport));
  };
}

}  // namespace millrace::transports
