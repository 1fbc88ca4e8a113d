#include "libs/warehouses/postgres/connection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "libs/secrets/mask.h"
#include "libs/warehouses/postgres/pinned_hosts.h"

namespace millrace::warehouses::postgres {
namespace {

constexpr size_t kCopyPiece = size_t{1} << 20;

/// A PEM text as a file in memory: libpq takes certificates by path only.
class MemoryFile {
 public:
  explicit MemoryFile(const std::string& text) {
    if (text.empty()) return;
    fd_ = memfd_create("millrace-pem", MFD_CLOEXEC);
    if (fd_ < 0 || fchmod(fd_, 0600) != 0 ||
        write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      return;
    }
    path_ = fmt::format("/proc/self/fd/{}", fd_);
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() {
    if (fd_ >= 0) close(fd_);
  }
  const std::string& path() const { return path_; }

 private:
  int fd_ = -1;
  std::string path_;
};

/// One line, the password masked should the server repeat it.
std::string Clean(std::string text, const std::string& password) {
  text = secrets::Mask({password}).ApplyToMessage(std::move(text));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  std::ranges::replace(text, '\n', ' ');
  return text;
}

Fault FaultOf(std::string_view sqlstate) {
  const std::string_view kind = sqlstate.substr(0, 2);
  if (sqlstate.empty() || kind == "08" || kind == "40" || kind == "53" || kind == "55" ||
      kind == "57" || kind == "58" || kind == "25") {
    return Fault::kRetry;
  }
  if (sqlstate == "42P01" || sqlstate == "42703" || sqlstate == "42P07" || sqlstate == "42701" ||
      sqlstate == "3F000" || sqlstate == "42804") {
    return Fault::kSchema;
  }
  if (kind == "22" || kind == "23" || kind == "54") return Fault::kData;
  return Fault::kOther;
}

}  // namespace

Connection::Socket::Socket(PGconn* connection)
    : fd_(fcntl(PQsocket(connection), F_DUPFD_CLOEXEC, 0)) {}

Connection::Socket::~Socket() {
  if (fd_ >= 0) close(fd_);
}

void Connection::Socket::ShutDown() const {
  if (fd_ >= 0) shutdown(fd_, SHUT_RDWR);
}

StatusOr<std::unique_ptr<Connection>> Connection::Open(const ConnectOptions& options,
                                                       const http::OutboundGuard& guard,
                                                       const std::stop_token& cancel) {
  const std::string where = fmt::format("PostgreSQL {}:{}, database {}, user {}", options.host,
                                        options.port, options.database, options.user);
  const auto pinned = PinHosts(options.host, options.port, guard);
  if (!pinned.ok()) return Annotate(pinned.status(), where);
  const MemoryFile ca(options.server_ca);
  const MemoryFile certificate(options.client_certificate);
  const MemoryFile key(options.client_key);
  std::vector<const char*> names;
  std::vector<const char*> values;
  const auto set = [&](const char* name, const char* value) {
    names.push_back(name);
    values.push_back(value);
  };
  set("host", pinned->hosts.c_str());
  set("hostaddr", pinned->addresses.c_str());
  set("port", pinned->ports.c_str());
  set("dbname", options.database.c_str());
  set("user", options.user.c_str());
  set("password", options.password.c_str());
  set("sslmode", options.ssl_mode.c_str());
  if (!ca.path().empty()) set("sslrootcert", ca.path().c_str());
  if (!certificate.path().empty()) set("sslcert", certificate.path().c_str());
  if (!key.path().empty()) set("sslkey", key.path().c_str());
  set("connect_timeout", "10");
  // A server that vanished while we wait for its answer, or take its data.
  set("keepalives_idle", "20");
  set("keepalives_interval", "10");
  set("keepalives_count", "3");
  set("tcp_user_timeout", "60000");
  set("client_encoding", "UTF8");
  set("application_name", "millrace-warehouse-loader");
  // A loader that vanished must not hold its locks for long.
  set("options",
      "-c timezone=UTC -c datestyle=ISO -c standard_conforming_strings=on -c lock_timeout=60000 "
      "-c client_min_messages=error -c idle_in_transaction_session_timeout=60000 "
      "-c statement_timeout=1800000 "
      "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3");
  set(nullptr, nullptr);
  std::unique_ptr<PGconn, Finish> connection(PQconnectdbParams(names.data(), values.data(), 0));
  if (connection == nullptr) return MakeStatus(StatusCode::kUnavailable, "out of memory");
  if (PQstatus(connection.get()) != CONNECTION_OK) {
    return Error(StatusCode::kUnavailable, "{}: {}", where,
                 Clean(PQerrorMessage(connection.get()), options.password));
  }
  return std::unique_ptr<Connection>(
      new Connection(std::move(connection), where, options.password, cancel));
}

Failure Connection::Check(const Result& result) const {
  const ExecStatusType status = PQresultStatus(result.get());
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_COPY_IN) return {};
  const char* state = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
  const char* primary = PQresultErrorField(result.get(), PG_DIAG_MESSAGE_PRIMARY);
  const std::string_view sqlstate = state == nullptr ? "" : state;
  const std::string message =
      Clean(primary == nullptr ? PQerrorMessage(connection_.get()) : primary, password_);
  const Fault fault = FaultOf(sqlstate);
  // 42501: the message names the object; the grant is for the operator to give.
  const char* hint = sqlstate == "42501" ? "; grant it to the user" : "";
  return {fault,
          Error(fault == Fault::kOther ? StatusCode::kFailedPrecondition : StatusCode::kUnavailable,
                "{}: {} ({}){}", where_, message, sqlstate, hint)};
}

Failure Connection::Run(const std::string& sql) {
  return Check(Result(PQexec(connection_.get(), sql.c_str())));
}

Failure Connection::Query(const std::string& sql, const std::vector<std::string>& parameters,
                          Rows* rows) {
  std::vector<const char*> values;
  for (const std::string& parameter : parameters) values.push_back(parameter.c_str());
  const Result result(PQexecParams(connection_.get(), sql.c_str(), static_cast<int>(values.size()),
                                   nullptr, values.data(), nullptr, nullptr, 0));
  if (Failure failure = Check(result); !failure.ok() || rows == nullptr) return failure;
  for (int i = 0; i < PQntuples(result.get()); ++i) {
    std::vector<std::string>& row = rows->emplace_back();
    for (int column = 0; column < PQnfields(result.get()); ++column) {
      row.emplace_back(PQgetvalue(result.get(), i, column),
                       static_cast<size_t>(PQgetlength(result.get(), i, column)));
    }
  }
  return {};
}

Failure Connection::CopyIn(const std::string& sql, std::string_view lines) {
  if (Failure failure = Run(sql); !failure.ok()) return failure;
  bool sent = true;
  for (size_t at = 0; at < lines.size() && sent; at += kCopyPiece) {
    const std::string_view piece = lines.substr(at, kCopyPiece);
    sent = PQputCopyData(connection_.get(), piece.data(), static_cast<int>(piece.size())) == 1;
  }
  if (sent) PQputCopyEnd(connection_.get(), nullptr);
  Failure failure;
  bool any = false;
  while (PGresult* raw = PQgetResult(connection_.get())) {
    const Result result(raw);
    any = true;
    if (PQresultStatus(raw) == PGRES_COPY_IN) break;  // the connection is gone
    if (Failure found = Check(result); !found.ok()) failure = std::move(found);
  }
  if (failure.ok() && (!sent || !any)) {
    return {Fault::kRetry, Error(StatusCode::kUnavailable, "{}: {}", where_,
                                 Clean(PQerrorMessage(connection_.get()), password_))};
  }
  return failure;
}

std::string ArrayLiteral(const std::vector<std::string_view>& values) {
  std::string literal = "{";
  for (const std::string_view value : values) {
    if (literal.size() > 1) literal.push_back(',');
    literal.push_back('"');
    for (const char c : value) {
      if (c == '\0') continue;
      if (c == '"' || c == '\\') literal.push_back('\\');
      literal.push_back(c);
    }
    literal.push_back('"');
  }
  literal.push_back('}');
  return literal;
}

}  // namespace millrace::warehouses::postgres
