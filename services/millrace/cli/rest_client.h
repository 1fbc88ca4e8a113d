#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "libs/base/status.h"

namespace millrace::cli {

/// A client of the REST API and of the gateway at one address; cpprestsdk stays inside rest_client.cc.
/// Owned by one command; one thread. Every method blocks until the answer is there.
///
/// Errors carry the server's own message; kUnavailable says that nothing answered at the address.
class RestClient {
 public:
  /// kInvalidArgument when `url` is no http or https address.
  static StatusOr<RestClient> Create(const std::string& url, std::string token);
  RestClient(RestClient&&) noexcept;
  RestClient& operator=(RestClient&&) noexcept;
  ~RestClient();

  StatusOr<nlohmann::json> Get(const std::string& path_and_query);
  StatusOr<nlohmann::json> Post(const std::string& path_and_query, const nlohmann::json& body);
  /// Sends `body` to the gateway as the source of `write_key`; the text of its answer.
  StatusOr<std::string> Ingest(const std::string& path, const std::string& write_key,
                               const std::string& body);
  /// Hands each line that is not empty to `on_line` as it comes, until it returns false or the server ends.
  Status Stream(const std::string& path_and_query,
                const std::function<bool(std::string_view line)>& on_line);

 private:
  struct Impl;
  explicit RestClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace::cli
