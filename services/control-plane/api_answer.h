#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <string_view>

#include "libs/base/status.h"
#include "libs/http/server.h"

/// Forms of the REST API's requests and answers.
namespace millrace::control_plane {

http::Response JsonResponse(int status, const nlohmann::json& body);

/// {"error": {"code", "message"}}, with "faults" when code was at fault.
http::Response Refusal(const Status& status);

/// `text` with %XX resolved.
std::string DecodePercent(std::string_view text);

/// The value of `name` in a query string, percent-decoded; "" when absent.
std::string QueryValue(std::string_view query, std::string_view name);

/// kInvalidArgument when a query string has a name that no route knows, lest a call do what was not
/// meant.
Status CheckQuery(std::string_view query);

/// Whether `name` is true in a query string; absent is false. kInvalidArgument: it is neither true
/// nor false.
StatusOr<bool> QueryFlag(std::string_view query, std::string_view name);

}  // namespace millrace::control_plane
