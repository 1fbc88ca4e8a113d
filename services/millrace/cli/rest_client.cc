#include "services/millrace/cli/rest_client.h"

#include <cpprest/containerstream.h>
#include <cpprest/http_client.h>
#include <nlohmann/json.hpp>

#include <chrono>

namespace millrace::cli {
namespace {

using web::http::client::http_client;
using web::http::client::http_client_config;

/// An audit waits for the log, so answers may take a while; a live tail has a line each second.
constexpr std::chrono::seconds kTimeout{120};

web::http::http_response Send(const std::string& url, const RestRequest& request) {
  http_client_config config;
  config.set_timeout(kTimeout);
  http_client client(url, config);
  web::uri_builder target(request.path);
  for (const auto& [name, value] : request.query) {
    if (!value.empty())
      target.append_query(name + "=" + web::uri::encode_data_string(value), false);
  }
  web::http::http_request message(request.method);
  message.set_request_uri(target.to_uri());
  if (!request.authorization.empty()) {
    message.headers().add("Authorization", request.authorization);
  }
  if (!request.body.empty()) message.set_body(request.body, "application/json");
  return client.request(message).get();
}

std::string BodyOf(const web::http::http_response& response) {
  const std::vector<unsigned char> bytes = response.extract_vector().get();
  return {bytes.begin(), bytes.end()};
}

/// What the server says against the request: the message of its JSON answer, else the answer
/// itself.
Status Refusal(int http_status, const std::string& body) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_object() &&
      json["error"].contains("message") && json["error"]["message"].is_string()) {
    return MakeStatus(StatusCode::kFailedPrecondition,
                      json["error"]["message"].get_ref<const std::string&>());
  }
  const std::string text = body.substr(0, body.find_last_not_of(" \r\n") + 1);
  return Error(StatusCode::kFailedPrecondition, "the server answered {}{}{}", http_status,
               text.empty() ? "" : ": ", text);
}

/// Runs `call` and turns what the library throws into a Status.
template <typename Result>
Result Guarded(const std::string& url, const std::function<Result()>& call) {
  try {
    return call();
  } catch (const web::uri_exception&) {
    return Error(StatusCode::kInvalidArgument,
                 "'{}' is not a URL; give one like http://127.0.0.1:8080", url);
  } catch (const std::invalid_argument&) {
    return Error(StatusCode::kInvalidArgument,
                 "'{}' is not a URL; give one like http://127.0.0.1:8080", url);
  } catch (const web::http::http_exception& e) {
    return Error(
        StatusCode::kUnavailable,
        "no Millrace answers at {} ({}); start it with 'millrace up' or name another with --url",
        url, e.what());
  } catch (const std::exception& e) {
    return Error(StatusCode::kInternal, "the call to {} failed: {}", url, e.what());
  }
}

}  // namespace

StatusOr<std::string> RestClient::Call(const RestRequest& request) const {
  return Guarded<StatusOr<std::string>>(url_, [&]() -> StatusOr<std::string> {
    const web::http::http_response response = Send(url_, request);
    std::string body = BodyOf(response);
    if (response.status_code() / 100 != 2) return Refusal(response.status_code(), body);
    return body;
  });
}

Status RestClient::Stream(const RestRequest& request,
                          const std::function<bool(std::string_view)>& on_line) const {
  return Guarded<Status>(url_, [&]() -> Status {
    const web::http::http_response response = Send(url_, request);
    if (response.status_code() / 100 != 2) {
      return Refusal(response.status_code(), BodyOf(response));
    }
    const auto lines = response.body();
    while (true) {
      concurrency::streams::container_buffer<std::string> line;
      lines.read_line(line).get();
      if (!line.collection().empty() && !on_line(line.collection())) return OkStatus();
      if (lines.is_eof()) return OkStatus();
    }
  });
}

}  // namespace millrace::cli
