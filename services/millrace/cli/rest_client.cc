#include "services/millrace/cli/rest_client.h"

#include <cpprest/containerstream.h>
#include <cpprest/http_client.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/hash.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;
using web::http::http_request;
using web::http::http_response;

StatusCode CodeOf(int status) {
  switch (status) {
    case 400: return StatusCode::kInvalidArgument;
    case 401: return StatusCode::kUnauthenticated;
    case 403: return StatusCode::kPermissionDenied;
    case 404: return StatusCode::kNotFound;
    case 409: return StatusCode::kAborted;
    case 413: return StatusCode::kInvalidArgument;
    case 429: return StatusCode::kResourceExhausted;
    case 503: return StatusCode::kUnavailable;
    default: return StatusCode::kInternal;
  }
}

/// The reason in an answer that is none of success: the API's message, or the answer's own text.
Status Refused(int status, const std::string& body) {
  const Json json = Json::parse(body, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_object() &&
      json["error"].contains("message") && json["error"]["message"].is_string()) {
    return MakeStatus(CodeOf(status), json["error"]["message"].get<std::string>());
  }
  std::string text = body.substr(0, 200);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return Error(CodeOf(status), "the server answered {}{}{}", status, text.empty() ? "" : ": ", text);
}

}  // namespace

struct RestClient::Impl {
  Impl(const std::string& address, std::string bearer, const web::http::client::http_client_config& config)
      : url(address), token(std::move(bearer)), client(web::uri(address), config) {}

  std::string url;
  std::string token;
  web::http::client::http_client client;

  /// Sends and waits for the head of the answer. Every exception of the library ends here.
  StatusOr<http_response> Send(const std::string& method, const std::string& path,
                               const std::string& authorization, const std::string& body) {
    try {
      http_request request(method);
      request.set_request_uri(web::uri(path));
      request.headers().add("Authorization", authorization);
      if (!body.empty()) request.set_body(body, "application/json");
      return client.request(request).get();
    } catch (const std::exception& error) {
      return Error(StatusCode::kUnavailable,
                   "nothing answers at {} ({}); is `millrace up` running there? See --url and MILLRACE_URL",
                   url, error.what());
    }
  }

  StatusOr<std::string> Text(const std::string& method, const std::string& path,
                             const std::string& authorization, const std::string& body) {
    MR_ASSIGN_OR_RETURN(http_response response, Send(method, path, authorization, body));
    std::string text;
    try {
      const std::vector<unsigned char> bytes = response.extract_vector().get();
      text.assign(bytes.begin(), bytes.end());
    } catch (const std::exception& error) {
      return Error(StatusCode::kUnavailable, "the answer of {} broke off: {}", url, error.what());
    }
    const int status = response.status_code();
    if (status < 200 || status > 299) return Refused(status, text);
    return text;
  }

  StatusOr<Json> Ask(const std::string& method, const std::string& path, const std::string& body) {
    MR_ASSIGN_OR_RETURN(const std::string text, Text(method, path, "Bearer " + token, body));
    Json json = Json::parse(text, nullptr, false);
    if (json.is_discarded()) {
      return Error(StatusCode::kInternal, "{} did not answer with JSON; is it Millrace?", url);
    }
    return json;
  }
};

RestClient::RestClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RestClient::RestClient(RestClient&&) noexcept = default;
RestClient& RestClient::operator=(RestClient&&) noexcept = default;
RestClient::~RestClient() = default;

StatusOr<RestClient> RestClient::Create(const std::string& url, std::string token) {
  try {
    const web::uri parsed(url);
    if ((parsed.scheme() != "http" && parsed.scheme() != "https") || parsed.host().empty()) {
      return Error(StatusCode::kInvalidArgument,
                   "'{}' is not an address like http://127.0.0.1:8080", url);
    }
    web::http::client::http_client_config config;
    config.set_timeout(std::chrono::seconds(60));
    return RestClient(std::make_unique<Impl>(url, std::move(token), config));
  } catch (const std::exception& error) {
    return Error(StatusCode::kInvalidArgument, "'{}' is not an address like http://127.0.0.1:8080: {}",
                 url, error.what());
  }
}

StatusOr<Json> RestClient::Get(const std::string& path_and_query) {
  return impl_->Ask("GET", path_and_query, "");
}

StatusOr<Json> RestClient::Post(const std::string& path_and_query, const Json& body) {
  return impl_->Ask("POST", path_and_query,
                    body.dump(-1, ' ', false, Json::error_handler_t::replace));
}

StatusOr<std::string> RestClient::Ingest(const std::string& path, const std::string& write_key,
                                         const std::string& body) {
  return impl_->Text("POST", path, "Basic " + EncodeBase64(write_key + ":"), body);
}

Status RestClient::Stream(const std::string& path_and_query,
                          const std::function<bool(std::string_view line)>& on_line) {
  MR_ASSIGN_OR_RETURN(http_response response,
                      impl_->Send("GET", path_and_query, "Bearer " + impl_->token, ""));
  try {
    if (response.status_code() != 200) {
      return Refused(response.status_code(), response.extract_utf8string(true).get());
    }
    concurrency::streams::istream body = response.body();
    while (true) {
      concurrency::streams::container_buffer<std::string> buffer;
      const size_t size = body.read_line(buffer).get();
      const std::string& line = buffer.collection();
      if (!line.empty() && !on_line(line)) return OkStatus();
      if (size == 0 && body.is_eof()) return OkStatus();
    }
  } catch (const std::exception& error) {
    return Error(StatusCode::kUnavailable, "the stream of {} broke off: {}", impl_->url, error.what());
  }
}

}  // namespace millrace::cli
