#include "libs/warehouses/postgres/postgres.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "libs/warehouses/postgres/session.h"

namespace millrace::warehouses::postgres {
namespace {

class PostgresWarehouse final : public warehouse::Warehouse {
 public:
  explicit PostgresWarehouse(http::OutboundGuard guard) : guard_(std::move(guard)) {}
  std::string_view type() const override { return "POSTGRES"; }
  const warehouse::Dialect& dialect() const override { return dialect_; }
  StatusOr<std::unique_ptr<warehouse::Session>> Connect(const destination::Config& config,
                                                        std::stop_token cancel) const override {
    MR_ASSIGN_OR_RETURN(const ConnectOptions options, OptionsOf(config));
    MR_ASSIGN_OR_RETURN(auto connection, Connection::Open(options, guard_, cancel));
    auto session = std::make_unique<PostgresSession>(std::move(connection), options.name_space);
    MR_RETURN_IF_ERROR(session->Prepare());
    return session;
  }

 private:
  const http::OutboundGuard guard_;
  const PostgresDialect dialect_;
};

}  // namespace

std::unique_ptr<warehouse::Warehouse> Make(const http::OutboundGuard& guard) {
  return std::make_unique<PostgresWarehouse>(guard);
}

StatusOr<ConnectOptions> OptionsOf(const destination::Config& config) {
  ConnectOptions options{.host = config.Text("host"),
                         .port = fmt::format("{}", config.Number("port").value_or(5432)),
                         .database = config.Text("database"),
                         .user = config.Text("user"),
                         .password = config.Text("password"),
                         .name_space = config.Text("namespace"),
                         .ssl_mode = config.Text("sslMode"),
                         .server_ca = config.Text("serverCA"),
                         .client_certificate = config.Text("clientCert"),
                         .client_key = config.Text("clientKey")};
  if (options.name_space.size() > 63) {
    return MakeStatus(StatusCode::kInvalidArgument, "namespace is longer than 63 bytes");
  }
  return options;
}

}  // namespace millrace::warehouses::postgres
