#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/base/status.h"

namespace millrace::cli {

using Fields = std::vector<std::pair<std::string, std::string>>;

struct RestRequest {
  std::string method = "GET";
  std::string path;
  Fields query;  // not yet encoded; entries with an empty value are left out
  std::string authorization;
  std::string body;  // JSON; none when empty
};

/// Calls a Millrace server over HTTP and waits for its answer.
///
/// A value that holds the address only: each call opens its own connection. Thread-safety: one
/// thread. Errors: kInvalidArgument for an address that is no URL, kUnavailable when nobody answers
/// there, kFailedPrecondition with the server's own message when it refuses.
class RestClient {
 public:
  explicit RestClient(std::string url) : url_(std::move(url)) {}

  /// The answer's body.
  StatusOr<std::string> Call(const RestRequest& request) const;

  /// Gives each line that is not empty to `on_line`, until the server ends the answer or `on_line`
  /// returns false.
  Status Stream(const RestRequest& request,
                const std::function<bool(std::string_view)>& on_line) const;

 private:
  std::string url_;
};

}  // namespace millrace::cli
