#include "libs/http/server.h"

#include <fmt/format.h>
#include <pthread.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <condition_variable>
#include <deque>
#include <optional>
#include <thread>
#include <unordered_set>

#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/http/request_head.h"

namespace millrace::http {
namespace {

namespace asio = boost::asio;
namespace beast_http = boost::beast::http;
using asio::ip::tcp;
using SteadyTime = std::chrono::steady_clock::time_point;
using BoostError = boost::system::error_code;

class IoThread;
class Connection;

std::string_view Reason(int status) {
  const auto reason = beast_http::obsolete_reason(static_cast<beast_http::status>(status));
  return {reason.data(), reason.size()};
}

/// What other threads hand to an I/O thread.
struct Completion {
  std::shared_ptr<Connection> connection;
  uint64_t request = 0;  // which request of the connection it answers
  std::string bytes;     // to be written
  bool head_only_stream = false;
  bool last = false;     // the answer is whole after these bytes
  Response response;     // when bytes is empty and this is a plain answer
  bool plain = false;
};

/// State of the server that its I/O threads share.
struct Shared {
  ServerOptions options;
  Handler handler;
  std::atomic<size_t> connections{0};
  std::atomic<size_t> buffered{0};
  std::atomic<size_t> running_requests{0};
  std::atomic<bool> stopping{false};
};

/// One io_context and its thread. Other threads talk to it through Push, which wakes it once for any
/// number of completions.
class IoThread : public std::enable_shared_from_this<IoThread> {
 public:
  explicit IoThread(Shared& shared) : shared_(shared), io_(1), acceptor_(io_), tick_(io_) {}

  Status Listen(uint16_t port, bool reuse_port, uint16_t* bound);
  void Run();
  void Push(Completion completion) {
    bool wake = false;
    {
      MutexLock lock(mu_);
      if (closed_) return;
      wake = completions_.empty();
      completions_.push_back(std::move(completion));
    }
    if (wake) asio::post(io_, [self = shared_from_this()] { self->Drain(); });
  }
  void StopAccepting() {
    asio::post(io_, [self = shared_from_this()] {
      BoostError ignored;
      self->acceptor_.close(ignored);
      self->CloseIdle();
    });
  }
  void StopAll() {
    {
      MutexLock lock(mu_);
      closed_ = true;
      completions_.clear();
    }
    io_.stop();
  }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }
  void Start() {
    thread_ = std::thread([this] { Run(); });
  }
  Shared& shared() { return shared_; }
  asio::io_context& io() { return io_; }
  void Forget(const std::shared_ptr<Connection>& connection) { connections_.erase(connection); }

 private:
  void Accept();
  void Tick();
  void Drain();
  void CloseIdle();

  Shared& shared_;
  asio::io_context io_;
  tcp::acceptor acceptor_;
  asio::steady_timer tick_;
  std::thread thread_;
  std::unordered_set<std::shared_ptr<Connection>> connections_;
  Mutex mu_;
  std::vector<Completion> completions_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

/// One client. Lives on its I/O thread; reads one request, waits for its answer, writes it, goes on.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(IoThread& thread, tcp::socket socket)
      : thread_(thread), shared_(thread.shared()), socket_(std::move(socket)) {
    BoostError ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    const auto remote = socket_.remote_endpoint(ignored);
    if (!ignored) remote_ip_ = remote.address().to_string();
    ++shared_.connections;
  }
  ~Connection() {
    --shared_.connections;
    shared_.buffered -= reserved_;
    FinishRequest();
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Start() {
    SetDeadline(shared_.options.header_timeout);
    Read();
  }
  void Apply(Completion completion);
  void CheckDeadline(SteadyTime now);
  bool idle() const { return state_ == State::kHead && in_.empty(); }
  void Close() {
    BoostError ignored;
    socket_.close(ignored);
  }
  bool open() const { return socket_.is_open(); }

 private:
  enum class State { kHead, kBody, kHandling, kWriting };

  void SetDeadline(std::chrono::milliseconds timeout) {
    deadline_ = std::chrono::steady_clock::now() + timeout;
  }
  void Read();
  void OnData();
  bool OnHead(size_t size);
  void OnMessage();
  void Refuse(int status, std::string_view reason);
  void Queue(std::string bytes, bool last);
  void Write();
  void Answered();
  void BeginRequest() {
    ++request_;
    request_open_ = true;
    answer_whole_ = false;
    ++shared_.running_requests;
  }
  void FinishRequest() {
    if (!request_open_) return;
    request_open_ = false;
    --shared_.running_requests;
  }

  IoThread& thread_;
  Shared& shared_;
  tcp::socket socket_;
  std::string remote_ip_;
  State state_ = State::kHead;
  SteadyTime deadline_;
  std::string in_;
  std::array<char, 16384> chunk_;
  size_t searched_ = 0;
  std::optional<beast_http::request_parser<beast_http::string_body>> parser_;
  size_t reserved_ = 0;
  uint64_t request_ = 0;
  bool keep_alive_ = true;
  bool head_request_ = false;
  bool continue_expected_ = false;
  std::string writing_;
  std::string queued_;
  bool write_running_ = false;
  bool answer_whole_ = false;
  bool streaming_ = false;
  bool request_open_ = false;
};

class StreamWriterImpl final : public StreamWriter {
 public:
  StreamWriterImpl(std::shared_ptr<IoThread> thread, std::shared_ptr<Connection> connection,
                   uint64_t request)
      : thread_(std::move(thread)), connection_(std::move(connection)), request_(request) {}
  ~StreamWriterImpl() override { Close(); }

  bool Write(std::string text) override {
    if (closed_ || !connection_->open()) return false;
    if (text.empty()) return true;
    thread_->Push({.connection = connection_,
                   .request = request_,
                   .bytes = fmt::format("{:x}\r\n{}\r\n", text.size(), text)});
    return true;
  }
  void Close() override {
    if (closed_.exchange(true)) return;
    thread_->Push(
        {.connection = connection_, .request = request_, .bytes = "0\r\n\r\n", .last = true});
  }

 private:
  const std::shared_ptr<IoThread> thread_;
  const std::shared_ptr<Connection> connection_;
  const uint64_t request_;
  std::atomic<bool> closed_{false};
};

class ResponderImpl final : public Responder::Impl {
 public:
  ResponderImpl(std::shared_ptr<IoThread> thread, std::shared_ptr<Connection> connection,
                uint64_t request)
      : thread_(std::move(thread)), connection_(std::move(connection)), request_(request) {}
  ~ResponderImpl() override {
    if (!answered_) Send({.status = 500, .body = "the request was not answered\n"});
  }
  void Send(Response response) override {
    if (answered_.exchange(true)) return;
    thread_->Push({.connection = connection_,
                   .request = request_,
                   .last = true,
                   .response = std::move(response),
                   .plain = true});
  }
  std::shared_ptr<StreamWriter> Stream(Response head) override {
    answered_ = true;
    thread_->Push({.connection = connection_,
                   .request = request_,
                   .head_only_stream = true,
                   .response = std::move(head)});
    return std::make_shared<StreamWriterImpl>(thread_, connection_, request_);
  }

 private:
  const std::shared_ptr<IoThread> thread_;
  const std::shared_ptr<Connection> connection_;
  const uint64_t request_;
  std::atomic<bool> answered_{false};
};

void AppendHead(const Response& response, bool keep_alive, std::string* out) {
  fmt::format_to(std::back_inserter(*out), "HTTP/1.1 {} {}\r\n", response.status,
                 Reason(response.status));
  for (const auto& [name, value] : response.headers) {
    *out += name;
    *out += ": ";
    *out += value;
    *out += "\r\n";
  }
  if (!keep_alive) *out += "Connection: close\r\n";
}

Status IoThread::Listen(uint16_t port, bool reuse_port, uint16_t* bound) {
  BoostError error;
  const auto address = asio::ip::make_address(shared_.options.address, error);
  if (error) {
    return Error(StatusCode::kInvalidArgument, "listen address '{}' is not an IP address",
                 shared_.options.address);
  }
  const tcp::endpoint endpoint(address, port);
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
  if (!error && reuse_port) {
    const int one = 1;
    setsockopt(acceptor_.native_handle(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  }
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(1024, error);
  if (error) {
    return Error(StatusCode::kFailedPrecondition,
                 "cannot listen on {}:{}: {}; stop what uses the port, or set another",
                 shared_.options.address, port, error.message());
  }
  *bound = acceptor_.local_endpoint(error).port();
  return OkStatus();
}

void IoThread::Run() {
  pthread_setname_np(pthread_self(), "http");
  Accept();
  Tick();
  io_.run();
  connections_.clear();
}

void IoThread::Accept() {
  acceptor_.async_accept([self = shared_from_this()](BoostError error, tcp::socket socket) {
    if (error == asio::error::operation_aborted || !self->acceptor_.is_open()) return;
    if (!error && self->shared_.connections < self->shared_.options.max_connections) {
      auto connection = std::make_shared<Connection>(*self, std::move(socket));
      self->connections_.insert(connection);
      connection->Start();
    }
    self->Accept();  // beyond the limit the socket is closed at once
  });
}

void IoThread::Tick() {
  tick_.expires_after(std::chrono::milliseconds(500));
  tick_.async_wait([self = shared_from_this()](BoostError error) {
    if (error) return;
    const auto now = std::chrono::steady_clock::now();
    const std::vector<std::shared_ptr<Connection>> all(self->connections_.begin(),
                                                       self->connections_.end());
    for (const auto& connection : all) {
      connection->CheckDeadline(now);
      if (!connection->open()) self->Forget(connection);
    }
    self->Tick();
  });
}

void IoThread::Drain() {
  std::vector<Completion> completions;
  {
    MutexLock lock(mu_);
    completions.swap(completions_);
  }
  for (Completion& completion : completions) {
    const auto connection = completion.connection;
    connection->Apply(std::move(completion));
  }
}

void IoThread::CloseIdle() {
  for (const auto& connection : connections_) {
    if (connection->idle()) connection->Close();
  }
}

void Connection::Read() {
  socket_.async_read_some(
      asio::buffer(chunk_), [self = shared_from_this()](BoostError error, size_t got) {
        if (error) {
          self->Close();
          self->thread_.Forget(self);
          return;
        }
        if (self->in_.empty() && self->state_ == State::kHead) {
          self->SetDeadline(self->shared_.options.header_timeout);
        } else if (self->state_ == State::kBody) {
          self->SetDeadline(self->shared_.options.body_timeout);
        }
        self->in_.append(self->chunk_.data(), got);
        self->OnData();
      });
}

void Connection::OnData() {
  if (state_ == State::kHead) {
    while (in_.compare(0, 2, "\r\n") == 0) in_.erase(0, 2);  // RFC 9112 2.2: empty lines before
    const size_t end = in_.find("\r\n\r\n", searched_);
    const size_t size = end == std::string::npos ? in_.size() : end + 4;
    if (size > shared_.options.max_header_bytes + shared_.options.max_target_bytes) {
      return Refuse(431, "the request's head is larger than the limit");
    }
    if (end == std::string::npos) {
      searched_ = in_.size() > 3 ? in_.size() - 3 : 0;
      // A head that cannot become sound is refused at once, not waited for.
      if (in_.find('\0') != std::string::npos) return Refuse(400, "control character in the head");
      return Read();
    }
    if (!OnHead(size)) return;
  }
  while (!in_.empty() && !parser_->is_done()) {
    BoostError error;
    const size_t used = parser_->put(asio::buffer(in_), error);
    in_.erase(0, used);
    if (error == beast_http::error::need_more) break;
    if (error == beast_http::error::body_limit) {
      return Refuse(413, "request size exceeds max limit");
    }
    if (error) return Refuse(400, error.message());
    const size_t held = parser_->get().body().size();
    if (held > reserved_) {
      shared_.buffered += held - reserved_;
      reserved_ = held;
      if (shared_.buffered > shared_.options.max_buffered_bytes) {
        return Refuse(503, "service unavailable");
      }
    }
  }
  if (parser_->is_done()) return OnMessage();
  if (continue_expected_) {
    continue_expected_ = false;
    Queue("HTTP/1.1 100 Continue\r\n\r\n", false);
  }
  Read();
}

/// Checks the head and makes the parser. False when the request was refused.
bool Connection::OnHead(size_t size) {
  const std::string_view head = std::string_view(in_).substr(0, size);
  if (const auto fault = FaultOfHead(head); !fault.empty()) {
    Refuse(400, fault);
    return false;
  }
  const size_t line_end = head.find("\r\n");
  if (line_end > shared_.options.max_target_bytes + 32) {
    Refuse(414, "the URL is longer than the limit");
    return false;
  }
  parser_.emplace();
  parser_->eager(true);
  parser_->header_limit(static_cast<uint32_t>(shared_.options.max_header_bytes +
                                              shared_.options.max_target_bytes));
  parser_->body_limit(shared_.options.max_body_bytes);
  BoostError error;
  const size_t used = parser_->put(asio::buffer(head.data(), head.size()), error);
  in_.erase(0, used);
  searched_ = 0;
  if (error == beast_http::error::body_limit) {
    Refuse(413, "request size exceeds max limit");
    return false;
  }
  if (error && error != beast_http::error::need_more) {
    Refuse(400, error.message());
    return false;
  }
  const auto& request = parser_->get();
  keep_alive_ = request.keep_alive() && !shared_.stopping;
  head_request_ = request.method() == beast_http::verb::head;
  continue_expected_ = boost::beast::iequals(request[beast_http::field::expect], "100-continue");
  if (const auto length = parser_->content_length(); length.has_value() && *length > 0) {
    if (*length > shared_.options.max_body_bytes) {
      Refuse(413, "request size exceeds max limit");
      return false;
    }
    shared_.buffered += *length;
    reserved_ = *length;
    if (shared_.buffered > shared_.options.max_buffered_bytes) {
      Refuse(503, "service unavailable");
      return false;
    }
    parser_->get().body().reserve(*length);
  }
  state_ = State::kBody;
  SetDeadline(shared_.options.body_timeout);
  return true;
}

void Connection::OnMessage() {
  state_ = State::kHandling;
  BeginRequest();
  auto message = parser_->release();
  Request request;
  request.method.assign(message.method_string().data(), message.method_string().size());
  const std::string_view target(message.target().data(), message.target().size());
  const size_t question = target.find('?');
  request.path = target.substr(0, question);
  if (question != std::string_view::npos) request.query = target.substr(question + 1);
  for (const auto& field : message) {
    std::string name(field.name_string().data(), field.name_string().size());
    for (char& c : name) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    request.headers.emplace_back(std::move(name),
                                 std::string(field.value().data(), field.value().size()));
  }
  request.body = Bytes(std::move(message.body()));
  request.remote_ip = remote_ip_;
  shared_.handler(std::move(request), Responder(std::make_shared<ResponderImpl>(
                                          thread_.shared_from_this(), shared_from_this(), request_)));
}

void Connection::Refuse(int status, std::string_view reason) {
  keep_alive_ = false;
  if (!request_open_) BeginRequest();
  Response response{.status = status, .body = std::string(reason) + "\n"};
  response.headers.emplace_back("Content-Type", "text/plain; charset=utf-8");
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  state_ = State::kHandling;
  Apply({.connection = shared_from_this(),
         .request = request_,
         .last = true,
         .response = std::move(response),
         .plain = true});
}

void Connection::Apply(Completion completion) {
  if (completion.request != request_ || answer_whole_) return;  // of an answer that is done with
  if (!socket_.is_open()) {
    if (completion.last) FinishRequest();
    return;
  }
  if (shared_.stopping) keep_alive_ = false;
  if (completion.head_only_stream) {
    streaming_ = true;
    completion.response.headers.emplace_back("Transfer-Encoding", "chunked");
    AppendHead(completion.response, keep_alive_, &completion.bytes);
    completion.bytes += "\r\n";
  } else if (completion.plain) {
    const Response& response = completion.response;
    completion.bytes.reserve(256 + response.body.size());
    AppendHead(response, keep_alive_, &completion.bytes);
    fmt::format_to(std::back_inserter(completion.bytes), "Content-Length: {}\r\n\r\n",
                   response.body.size());
    if (!head_request_) completion.bytes += response.body;
  }
  if (streaming_ && queued_.size() > (1 << 20)) {  // the client reads too slowly
    Close();
    if (!completion.last) return;
  }
  Queue(std::move(completion.bytes), completion.last);
}

void Connection::Queue(std::string bytes, bool last) {
  if (queued_.empty()) queued_ = std::move(bytes);
  else queued_ += bytes;
  if (last) answer_whole_ = true;
  if (!write_running_) Write();
}

void Connection::Write() {
  write_running_ = true;
  writing_.swap(queued_);
  queued_.clear();
  SetDeadline(shared_.options.body_timeout);
  if (answer_whole_) state_ = State::kWriting;
  asio::async_write(socket_, asio::buffer(writing_),
                    [self = shared_from_this()](BoostError error, size_t) {
                      self->write_running_ = false;
                      self->writing_.clear();
                      if (error) {
                        self->Close();
                        self->thread_.Forget(self);
                        self->FinishRequest();
                        return;
                      }
                      if (!self->queued_.empty()) return self->Write();
                      if (self->answer_whole_) self->Answered();
                    });
}

/// The answer is out: frees what the request held and goes on to the next.
void Connection::Answered() {
  FinishRequest();
  shared_.buffered -= reserved_;
  reserved_ = 0;
  parser_.reset();
  streaming_ = false;
  if (!keep_alive_ || !socket_.is_open()) {
    BoostError ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    Close();
    thread_.Forget(shared_from_this());
    return;
  }
  state_ = State::kHead;
  answer_whole_ = false;
  SetDeadline(in_.empty() ? shared_.options.idle_timeout : shared_.options.header_timeout);
  if (in_.empty()) return Read();
  // Pipelined: not from within this call, so that a long run of requests does not grow the stack.
  asio::post(thread_.io(), [self = shared_from_this()] { self->OnData(); });
}

void Connection::CheckDeadline(SteadyTime now) {
  if (now < deadline_ || state_ == State::kHandling) return;
  if (state_ == State::kWriting || (state_ == State::kHead && in_.empty())) return Close();
  Refuse(408, "the request did not come in time");
}

class ServerImpl final : public Server {
 public:
  ServerImpl(const ServerOptions& options, Handler handler) {
    shared_.options = options;
    shared_.handler = std::move(handler);
  }
  ~ServerImpl() override { Stop(std::chrono::milliseconds(0)); }

  Status Listen() {
    const int count = std::max(1, shared_.options.threads);
    port_ = shared_.options.port;
    for (int i = 0; i < count; ++i) {
      threads_.push_back(std::make_shared<IoThread>(shared_));
      MR_RETURN_IF_ERROR(threads_.back()->Listen(port_, count > 1, &port_));
    }
    for (const auto& thread : threads_) thread->Start();
    return OkStatus();
  }
  uint16_t port() const override { return port_; }

  void Stop(std::chrono::milliseconds deadline) override {
    if (stopped_) return;
    stopped_ = true;
    shared_.stopping = true;
    for (const auto& thread : threads_) thread->StopAccepting();
    const auto until = std::chrono::steady_clock::now() + deadline;
    while (shared_.running_requests > 0 && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    for (const auto& thread : threads_) thread->StopAll();
    for (const auto& thread : threads_) thread->Join();
  }

 private:
  Shared shared_;
  std::vector<std::shared_ptr<IoThread>> threads_;
  uint16_t port_ = 0;
  bool stopped_ = false;
};

}  // namespace

std::string_view Request::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, Handler handler) {
  auto server = std::make_unique<ServerImpl>(options, std::move(handler));
  MR_RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace millrace::http
