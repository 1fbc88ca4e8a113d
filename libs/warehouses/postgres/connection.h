#pragma once

#include <libpq-fe.h>

#include <initializer_list>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "libs/http/guard.h"

namespace millrace::warehouses::postgres {

/// What a destination is configured with.
struct ConnectOptions {
  std::string host;
  std::string port;
  std::string database;
  std::string user;
  std::string password;
  std::string name_space;
  std::string ssl_mode;
  // PEM texts; empty = none.
  std::string server_ca;
  std::string client_certificate;
  std::string client_key;
};

/// Why a statement failed, beside its Status.
enum class Fault {
  kNone,
  kRetry,   // the connection, a lock, the server's resources
  kSchema,  // a table or column is there already, or not any more
  kData,    // a value or row that the server refuses
  kOther,   // a grant, or our SQL
};

struct Failure {
  Fault fault = Fault::kNone;
  Status status;
  bool ok() const { return fault == Fault::kNone; }
};

using Rows = std::vector<std::vector<std::string>>;

/// One connection by libpq. Messages name host, database and user, never the password. One thread;
/// once `cancel` is requested, from any thread, what it waits for fails, and all that comes after;
/// opening takes 10 s at most for each address.
/// A server that has vanished is noticed within a minute, and one that does not get on with a
/// statement after half an hour.
class Connection {
 public:
  /// Connects to no address that `guard` refuses; kFailedPrecondition then, with the setting.
  static StatusOr<std::unique_ptr<Connection>> Open(const ConnectOptions& options,
                                                    const http::OutboundGuard& guard,
                                                    const std::stop_token& cancel = {});

  Failure Run(const std::string& sql);
  /// `parameters` as text; null pointers are NULL. `rows` may be null.
  Failure Query(const std::string& sql, const std::vector<std::string>& parameters, Rows* rows);
  /// COPY ... FROM STDIN of `lines`.
  Failure CopyIn(const std::string& sql, std::string_view lines);

 private:
  struct Finish {
    void operator()(PGconn* connection) const { PQfinish(connection); }
  };
  struct Clear {
    void operator()(PGresult* result) const { PQclear(result); }
  };
  using Result = std::unique_ptr<PGresult, Clear>;

  /// A descriptor of our own for a connection's socket: libpq closes its own when it likes.
  class Socket {
   public:
    explicit Socket(PGconn* connection);
    ~Socket();
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    /// Ends the traffic: whoever waits for it gets an error.
    void ShutDown() const;

   private:
    const int fd_;
  };
  struct ShutDown {
    const Socket& socket;
    void operator()() const { socket.ShutDown(); }
  };

  Connection(std::unique_ptr<PGconn, Finish> connection, std::string where, std::string password,
             const std::stop_token& cancel)
      : connection_(std::move(connection)),
        where_(std::move(where)),
        password_(std::move(password)),
        socket_(connection_.get()),
        on_cancel_(cancel, ShutDown{socket_}) {}
  Failure Check(const Result& result) const;

  std::unique_ptr<PGconn, Finish> connection_;
  const std::string where_;
  const std::string password_;
  const Socket socket_;
  const std::stop_callback<ShutDown> on_cancel_;
};

/// `values` as the text of a PostgreSQL array.
std::string ArrayLiteral(const std::vector<std::string_view>& values);

}  // namespace millrace::warehouses::postgres
