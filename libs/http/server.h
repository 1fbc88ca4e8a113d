#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/base/bytes.h"
#include "libs/base/status.h"

/// HTTP/1.1 server behind plain types; Boost.Asio stays inside.
namespace millrace::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method;
  std::string path;   // before '?', as sent (not decoded)
  std::string query;  // after '?'
  Headers headers;    // names in lower case
  Bytes body;         // de-chunked, not decompressed
  std::string remote_ip;

  /// The first header of that (lower-case) name, or "".
  std::string_view Header(std::string_view name) const;
};

struct Response {
  int status = 200;
  Headers headers;
  std::string body;
};

/// Writes a long answer piece by piece (chunked). Any thread.
class StreamWriter {
 public:
  virtual ~StreamWriter() = default;
  /// False once the client has gone. `text` is queued; at most 1 MiB waits, beyond it false.
  virtual bool Write(std::string text) = 0;
  virtual void Close() = 0;
};

/// Answers one request, exactly once, from any thread, possibly after the server has stopped (then
/// the answer is dropped). Copyable; a request whose every Responder is gone unanswered gets a 500.
class Responder {
 public:
  class Impl {
   public:
    virtual ~Impl() = default;
    virtual void Send(Response response) = 0;
    virtual std::shared_ptr<StreamWriter> Stream(Response head) = 0;
  };
  explicit Responder(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  void Send(Response response) const { impl_->Send(std::move(response)); }
  std::shared_ptr<StreamWriter> Stream(Response head) const {
    return impl_->Stream(std::move(head));
  }

 private:
  std::shared_ptr<Impl> impl_;
};

/// Runs on an I/O thread; must not block.
using Handler = std::function<void(Request, Responder)>;

struct ServerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;  // 0: any free one
  int threads = 1;
  size_t max_header_bytes = 32 << 10;
  size_t max_target_bytes = 8 << 10;
  size_t max_body_bytes = 4'000 << 10;
  size_t max_connections = 20'000;
  size_t max_buffered_bytes = 256 << 20;  // of request bodies over all connections; beyond it 503
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds body_timeout{30'000};
  std::chrono::milliseconds idle_timeout{75'000};
};

/// Owned by main. Start listens; Stop refuses new connections, lets running requests end until the
/// deadline, and closes.
class Server {
 public:
  static StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, Handler handler);
  virtual ~Server() = default;
  virtual uint16_t port() const = 0;
  virtual void Stop(std::chrono::milliseconds deadline) = 0;
};

}  // namespace millrace::http
