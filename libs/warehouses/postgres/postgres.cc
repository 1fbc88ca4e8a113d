#include "libs/warehouses/postgres/postgres.h"

#include <nlohmann/json.hpp>

#include <string>
#include <utility>

#include "libs/warehouses/postgres/session.h"

namespace millrace::warehouses::postgres {
namespace {

class PostgresWarehouse final : public warehouse::Warehouse {
 public:
  std::string_view type() const override { return "POSTGRES"; }
  const warehouse::Dialect& dialect() const override { return dialect_; }
  StatusOr<std::unique_ptr<warehouse::Session>> Connect(
      std::string_view config_json) const override {
    MR_ASSIGN_OR_RETURN(ConnectOptions options, ParseConfig(config_json));
    MR_ASSIGN_OR_RETURN(auto connection, Connection::Open(options));
    auto session = std::make_unique<PostgresSession>(std::move(connection), options.name_space);
    MR_RETURN_IF_ERROR(session->Prepare());
    return session;
  }

 private:
  const PostgresDialect dialect_;
};

/// A string, or a number as RudderStack's forms sometimes hold it.
std::string Text(const nlohmann::json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  return found->is_number() ? found->dump() : std::string();
}

}  // namespace

std::unique_ptr<warehouse::Warehouse> Make() {
  return std::make_unique<PostgresWarehouse>();
}

StatusOr<ConnectOptions> ParseConfig(std::string_view config_json) {
  const auto config = nlohmann::json::parse(config_json, nullptr, false);
  if (!config.is_object()) {
    return MakeStatus(StatusCode::kInvalidArgument, "the configuration is not a JSON object");
  }
  ConnectOptions options{.host = Text(config, "host"),
                         .database = Text(config, "database"),
                         .user = Text(config, "user"),
                         .password = Text(config, "password"),
                         .name_space = Text(config, "namespace"),
                         .server_ca = Text(config, "serverCA"),
                         .client_certificate = Text(config, "clientCert"),
                         .client_key = Text(config, "clientKey")};
  if (const std::string port = Text(config, "port"); !port.empty()) options.port = port;
  if (const std::string mode = Text(config, "sslMode"); !mode.empty()) options.ssl_mode = mode;
  if (options.name_space.empty()) options.name_space = "millrace";
  for (const auto& [key, value] :
       {std::pair{"host", &options.host}, std::pair{"database", &options.database},
        std::pair{"user", &options.user}}) {
    if (value->empty()) {
      return Error(StatusCode::kInvalidArgument, "the configuration has no `{}`", key);
    }
  }
  if (options.ssl_mode != "disable" && options.ssl_mode != "require" &&
      options.ssl_mode != "verify-ca" && options.ssl_mode != "verify-full") {
    return Error(StatusCode::kInvalidArgument,
                 "sslMode is `{}`; it must be disable, require, verify-ca or verify-full",
                 options.ssl_mode);
  }
  if (options.name_space.size() > 63) {
    return MakeStatus(StatusCode::kInvalidArgument, "namespace is longer than 63 bytes");
  }
  return options;
}

}  // namespace millrace::warehouses::postgres
