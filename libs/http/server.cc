#include "libs/http/server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <algorithm>
#include <thread>

#include "libs/http/server_connection.h"

namespace millrace::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using ReusePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

StatusOr<tcp::acceptor> Listen(asio::io_context& io, const ServerOptions& options, uint16_t port) {
  boost::system::error_code error;
  const auto address = asio::ip::make_address(options.address, error);
  if (error) {
    return Error(StatusCode::kInvalidArgument, "`{}` is no IP address to listen on",
                 options.address);
  }
  const tcp::endpoint endpoint(address, port);
  tcp::acceptor acceptor(io);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error && options.threads > 1) acceptor.set_option(ReusePort(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(4096, error);
  if (!error) acceptor.non_blocking(true, error);
  if (error) {
    return Error(StatusCode::kUnavailable, "cannot listen on {}:{}: {}; {}", options.address, port,
                 error.message(),
                 error == asio::error::address_in_use
                     ? "stop the process that uses it, or listen on another port"
                     : "listen on another address or port");
  }
  return acceptor;
}

class ServerImpl final : public Server {
 public:
  ServerImpl(const ServerOptions& options, Handler handler) : shared_(std::make_shared<Shared>()) {
    shared_->options = options;
    shared_->handler = std::move(handler);
  }
  ~ServerImpl() override { Stop(std::chrono::milliseconds(0)); }

  Status Listen() {
    const int threads = std::max(1, shared_->options.threads);
    port_ = shared_->options.port;
    for (int i = 0; i < threads; ++i) {
      auto loop = std::make_shared<Loop>(shared_);
      MR_ASSIGN_OR_RETURN(tcp::acceptor acceptor,
                          http::Listen(loop->io(), shared_->options, port_));
      port_ = acceptor.local_endpoint().port();
      loop->Serve(std::move(acceptor));
      loops_.push_back(std::move(loop));
    }
    for (const auto& loop : loops_) threads_.emplace_back([&loop = *loop] { loop.Run(); });
    return OkStatus();
  }

  uint16_t port() const override { return port_; }

  ServerStats Stats() const override {
    return {.connections = shared_->connections.load(),
            .buffered_bytes = shared_->buffered_bytes.load(),
            .refused = shared_->refused.load(),
            .closed_for_room = shared_->closed_for_room.load(),
            .accept_failures = shared_->accept_failures.load()};
  }

  void Stop(std::chrono::milliseconds deadline) override {
    for (const auto& loop : loops_) loop->Stop(deadline);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    loops_.clear();
  }

 private:
  std::shared_ptr<Shared> shared_;
  uint16_t port_ = 0;
  std::vector<std::shared_ptr<Loop>> loops_;
  std::vector<std::thread> threads_;
};

}  // namespace

StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, Handler handler) {
  auto server = std::make_unique<ServerImpl>(options, std::move(handler));
  MR_RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace millrace::http
