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
  Bytes shared = {};  // sent after `body` and not copied: for what many clients get
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
  /// Beyond it connections that wait for a request are closed, the oldest first, to make room for
  /// new ones; when there is none of them, new ones get a 503.
  size_t max_connections = 20'000;
  /// The same from this file descriptor on: what is above is left to the process's files. 0: none.
  int first_reserved_descriptor = 0;
  size_t max_buffered_bytes = 256 << 20;  // of request bodies over all connections; beyond it 503
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds body_timeout{30'000};
  std::chrono::milliseconds idle_timeout{75'000};
  std::chrono::milliseconds write_timeout{30'000};  // for the client to read what is due to it
  /// Whether the connection's next requests may be handled before this one is answered, for
  /// requests with small answers. Any other is alone: the next one is handled when its answer has
  /// been sent, so that a client which does not read cannot pile up answers here. None: all are
  /// alone.
  std::function<bool(const Request&)> pipelined = nullptr;
};

/// How a server is doing.
struct ServerStats {
  size_t connections = 0;
  size_t buffered_bytes = 0;     // of request bodies
  uint64_t refused = 0;          // connections for which there was no room
  uint64_t closed_for_room = 0;  // connections closed to make room for others
  uint64_t accept_failures = 0;  // e.g. out of descriptors
};

/// Owned by main. Start listens; Stop refuses new connections, lets running requests end until the
/// deadline, and closes.
class Server {
 public:
  static StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, Handler handler);
  virtual ~Server() = default;
  virtual uint16_t port() const = 0;
  /// Any thread.
  virtual ServerStats Stats() const = 0;
  virtual void Stop(std::chrono::milliseconds deadline) = 0;
};

}  // namespace millrace::http
