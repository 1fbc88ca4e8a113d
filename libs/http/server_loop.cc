#include <boost/asio/post.hpp>

#include <ctime>

#include "libs/http/server_connection.h"

namespace millrace::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using std::chrono::milliseconds;

constexpr size_t kReadBufferBytes = 256 << 10;
thread_local Loop* current_loop = nullptr;

}  // namespace

Loop::Loop(std::shared_ptr<Shared> shared)
    : shared_(std::move(shared)), read_buffer_(kReadBufferBytes, '\0') {}

void Loop::Serve(tcp::acceptor acceptor) {
  acceptor_ = std::move(acceptor);
  Accept();
  Sweep();
}

void Loop::Run() {
  current_loop = this;
  io_.run();
  current_loop = nullptr;
  std::vector<Completion> dropped;
  {
    MutexLock lock(mu_);
    ended_ = true;
    dropped.swap(mail_);
  }
}

void Loop::Stop(milliseconds deadline) {
  asio::post(io_, [this, deadline] {
    if (stopping_) return;
    stopping_ = true;
    UpdateNow();
    stop_at_ = now_ + deadline;
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    const std::vector<std::shared_ptr<Connection>> all(connections_.begin(), connections_.end());
    for (const auto& connection : all) connection->CloseWhenIdle();
    Sweep();
  });
}

void Loop::Post(Completion completion) {
  if (current_loop == this) {
    const std::shared_ptr<Connection> connection = completion.connection;
    connection->Complete(completion);
    connection->Flush();
    return;
  }
  bool wake = false;
  {
    MutexLock lock(mu_);
    if (ended_) return;
    wake = mail_.empty();
    mail_.push_back(std::move(completion));
  }
  if (wake) asio::post(io_, [this] { DeliverMail(); });
}

void Loop::DeliverMail() {
  {
    MutexLock lock(mu_);
    delivering_.swap(mail_);
  }
  UpdateNow();
  for (Completion& completion : delivering_) completion.connection->Complete(completion);
  for (Completion& completion : delivering_) completion.connection->Flush();
  delivering_.clear();
}

std::string_view Loop::DateLine() {
  const std::time_t second = std::time(nullptr);
  if (second != date_second_) {
    date_second_ = second;
    std::tm parts{};
    gmtime_r(&second, &parts);
    char text[64];
    const size_t size =
        std::strftime(text, sizeof text, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
    date_line_.assign(text, size);
  }
  return date_line_;
}

void Loop::Accept() {
  acceptor_.async_accept([this](boost::system::error_code error, tcp::socket socket) {
    if (!acceptor_.is_open()) return;
    if (error && error != asio::error::connection_aborted) {
      // Out of descriptors, most likely: tried again at the next sweep.
      accept_paused_ = true;
      return;
    }
    if (!error) Take(std::move(socket));
    Accept();
  });
}

void Loop::Take(tcp::socket socket) {
  boost::system::error_code error;
  const tcp::endpoint peer = socket.remote_endpoint(error);
  if (error) return;
  asio::ip::address address = peer.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  socket.non_blocking(true, error);
  if (!error) socket.set_option(tcp::no_delay(true), error);
  if (error) return;
  if (shared_->connections.load(std::memory_order_relaxed) >= shared_->options.max_connections) {
    constexpr std::string_view kFull =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n"
        "Connection: close\r\n\r\n";
    socket.write_some(asio::buffer(kFull.data(), kFull.size()), error);
    return;
  }
  UpdateNow();
  auto connection =
      std::make_shared<Connection>(shared_from_this(), std::move(socket), address.to_string());
  connections_.insert(connection);
  connection->Start();
}

void Loop::Remove(const std::shared_ptr<Connection>& connection) {
  connections_.erase(connection);
  FinishIfIdle();
}

void Loop::FinishIfIdle() {
  if (stopping_ && connections_.empty()) sweep_timer_.cancel();
}

void Loop::Sweep() {
  UpdateNow();
  const std::vector<std::shared_ptr<Connection>> all(connections_.begin(), connections_.end());
  for (const auto& connection : all) {
    if (stopping_ && now_ >= stop_at_)
      connection->Close();
    else
      connection->CheckDeadline();
  }
  if (stopping_ && connections_.empty()) {
    sweep_timer_.cancel();
    return;
  }
  if (accept_paused_ && acceptor_.is_open()) {
    accept_paused_ = false;
    Accept();
  }
  const ServerOptions& options = shared_->options;
  const milliseconds shortest =
      std::min({options.header_timeout, options.body_timeout, options.idle_timeout});
  const milliseconds period =
      stopping_ ? milliseconds(5) : std::clamp(shortest / 8, milliseconds(5), milliseconds(500));
  sweep_timer_.expires_after(period);  // a sweep that already waits is cancelled by this
  sweep_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) Sweep();
  });
}

}  // namespace millrace::http
