#include "services/control-plane/api_answer.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>

#include "services/control-plane/message_json.h"
#include "services/control-plane/script_draft.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;

int HttpStatus(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk:
      return 200;
    case StatusCode::kInvalidArgument:
      return 400;
    case StatusCode::kUnauthenticated:
      return 401;
    case StatusCode::kNotFound:
      return 404;
    case StatusCode::kUnimplemented:
      return 405;
    case StatusCode::kAborted:
    case StatusCode::kAlreadyExists:
    case StatusCode::kFailedPrecondition:
      return 409;
    case StatusCode::kResourceExhausted:
      return 429;
    case StatusCode::kUnavailable:
      return 503;
    case StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

}  // namespace

http::Response JsonResponse(int status, const Json& body) {
  return {.status = status,
          .headers = {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}},
          .body = body.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"};
}

http::Response Refusal(const Status& status) {
  const std::string code = absl::StatusCodeToString(status.code());
  Json error = {{"code", code}, {"message", std::string(Message(status))}};
  if (const auto faults = FaultsOf(status); !faults.faults().empty()) {
    error.update(MessageToJson(faults));
  }
  return JsonResponse(HttpStatus(status), {{"error", std::move(error)}});
}

std::string DecodePercent(std::string_view text) {
  std::string value;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    if (text[i] == '%' && i + 2 < text.size()) {
      const char* digits = text.data() + i + 1;
      if (std::from_chars(digits, digits + 2, code, 16).ptr == digits + 2) {
        value += static_cast<char>(code);
        i += 2;
        continue;
      }
    }
    value += text[i];
  }
  return value;
}

std::string QueryValue(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos || pair.substr(0, equals) != name) continue;
    std::string value(pair.substr(equals + 1));
    std::replace(value.begin(), value.end(), '+', ' ');
    return DecodePercent(value);
  }
  return {};
}

Status CheckQuery(std::string_view query) {
  constexpr std::string_view kKnown[] = {"destination", "dry_run", "give_up_waiting", "id",
                                         "limit",       "prune",   "publish",         "source"};
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const std::string_view name = pair.substr(0, pair.find('='));
    if (name.empty() || std::ranges::find(kKnown, name) != std::end(kKnown)) continue;
    return Error(StatusCode::kInvalidArgument,
                 "'{}' in the query is not understood; see /api/v1/openapi.json",
                 DecodePercent(name));
  }
  return OkStatus();
}

StatusOr<bool> QueryFlag(std::string_view query, std::string_view name) {
  const std::string value = QueryValue(query, name);
  if (value == "true") return true;
  if (value.empty() || value == "false") return false;
  return Error(StatusCode::kInvalidArgument, "?{}= takes true or false, not '{}'", name, value);
}

}  // namespace millrace::control_plane
