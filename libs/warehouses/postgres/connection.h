#pragma once

#include <libpq-fe.h>

#include <initializer_list>
#include <memory>
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

/// One connection by libpq. Messages name host, database and user, never the password. One thread.
class Connection {
 public:
  /// Connects to no address that `guard` refuses; kFailedPrecondition then, with the setting.
  static StatusOr<std::unique_ptr<Connection>> Open(const ConnectOptions& options,
                                                    const http::OutboundGuard& guard);

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

  Connection(std::unique_ptr<PGconn, Finish> connection, std::string where, std::string password)
      : connection_(std::move(connection)),
        where_(std::move(where)),
        password_(std::move(password)) {}
  Failure Check(const Result& result) const;

  std::unique_ptr<PGconn, Finish> connection_;
  const std::string where_;
  const std::string password_;
};

/// `values` as the text of a PostgreSQL array.
std::string ArrayLiteral(const std::vector<std::string_view>& values);

}  // namespace millrace::warehouses::postgres
