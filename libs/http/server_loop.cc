#include <boost/asio/post.hpp>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <ctime>

#include "libs/base/log.h"
#include "libs/http/server_connection.h"

namespace millrace::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using std::chrono::milliseconds;

constexpr size_t kReadBufferBytes = 256 << 10;
// After so long without a refused connection there is room again.
constexpr std::chrono::seconds kRoomAgain{5};
// Looking at all connections costs time: not for each client that is turned away.
constexpr milliseconds kLookAgain{50};
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
      // Out of descriptors, most likely: without room tried again at the next sweep.
      shared_->accept_failures.fetch_add(1, std::memory_order_relaxed);
      NoteRefused();
      if (MakeRoom()) return Accept();
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
  UpdateNow();
  const bool full = Full(socket);
  if (full && !MakeRoom()) {
    shared_->refused.fetch_add(1, std::memory_order_relaxed);
    NoteRefused();
    constexpr std::string_view kFull =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n"
        "Connection: close\r\n\r\n";
    socket.write_some(asio::buffer(kFull.data(), kFull.size()), error);
    return;
  }
  if (full) TakeLowerDescriptor(socket);
  auto connection =
      std::make_shared<Connection>(shared_from_this(), std::move(socket), address.to_string());
  connections_.insert(connection);
  connection->Start();
}

// Descriptors are given out from the lowest free one, so a high one says that few are left.
bool Loop::Full(tcp::socket& socket) const {
  const ServerOptions& options = shared_->options;
  const int descriptor = socket.native_handle();
  return shared_->connections.load(std::memory_order_relaxed) >= options.max_connections ||
         (options.first_reserved_descriptor > 0 && descriptor >= options.first_reserved_descriptor);
}

// One of those that were made free: with the high one it came with, a connection would stay in the
// part that is kept for others.
void Loop::TakeLowerDescriptor(tcp::socket& socket) {
  const int low = fcntl(socket.native_handle(), F_DUPFD_CLOEXEC, 0);
  if (low < 0) return;
  tcp::socket lower(io_);
  boost::system::error_code error;
  lower.assign(acceptor_.local_endpoint(error).protocol(), low, error);
  if (error) {
    close(low);
    return;
  }
  lower.non_blocking(true, error);
  socket = std::move(lower);
}

// Closes some of the connections that can best be spared, the oldest first: a share of them, so
// that looking at all pays. False: every one has a request under way.
bool Loop::MakeRoom() {
  if (now_ < no_room_until_) return false;
  int lowest = INT_MAX;
  std::vector<std::shared_ptr<Connection>> spare;
  for (const auto& connection : connections_) {
    const int rank = connection->Rank();
    if (rank < 0 || rank > lowest) continue;
    if (rank < lowest) spare.clear();
    lowest = rank;
    spare.push_back(connection);
  }
  if (spare.empty()) {
    no_room_until_ = now_ + kLookAgain;
    return false;
  }
  const size_t count = 1 + spare.size() / 64;
  std::nth_element(spare.begin(), spare.begin() + static_cast<ptrdiff_t>(count - 1), spare.end(),
                   [](const auto& a, const auto& b) { return a->since() < b->since(); });
  spare.resize(count);
  for (const auto& connection : spare) connection->Close();
  shared_->closed_for_room.fetch_add(count, std::memory_order_relaxed);
  return true;
}

void Loop::NoteRefused() {
  if (refused_at_ == SteadyTime{}) {
    log::Warning("http: no room for another connection, {} are open; new ones get a 503",
                 shared_->connections.load());
  }
  refused_at_ = now_;
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
  if (refused_at_ != SteadyTime{} && now_ - refused_at_ > kRoomAgain) {
    refused_at_ = {};
    log::Info("http: there is room for connections again");
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
