#include "libs/transports/http/http_transport.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <optional>

#include "libs/http/server.h"

namespace millrace::transports {
namespace {

using std::chrono::milliseconds;

destination::Answer Exchange(HttpTransport& transport, destination::Prepared request) {
  std::optional<destination::Answer> answer;
  transport.Send(std::move(request), [&](destination::Answer got) { answer = std::move(got); });
  CHECK(transport.in_flight() == 1);
  while (!answer) transport.Run(milliseconds(1000));
  CHECK(transport.in_flight() == 0);
  return *answer;
}

TEST_CASE("HttpTransport carries a request over and its answer back", "[http_transport]") {
  std::string got;
  auto server = http::Server::Start({}, [&](http::Request request, http::Responder responder) {
    got = request.method + " " + std::string(request.Header("x-key")) + " " +
          std::string(request.body.view());
    responder.Send({.status = 429, .headers = {{"Retry-After", "7"}}, .body = "later"});
  });
  REQUIRE(server.ok());
  auto transport = HttpTransport::Create({.allowed_networks = {"127.0.0.0/8"}});
  REQUIRE(transport.ok());
  const std::string url = "http://127.0.0.1:" + std::to_string((*server)->port()) + "/";
  const destination::Answer answer = Exchange(
      **transport, {.method = "PUT", .url = url, .headers = {{"X-Key", "k"}}, .body = "text"});
  (*server)->Stop(milliseconds(1000));
  CHECK(got == "PUT k text");
  CHECK(answer.status == 429);
  CHECK(answer.body == "later");
  CHECK(answer.network_error.empty());
  CHECK(std::ranges::count(answer.headers,
                           std::pair<std::string, std::string>("retry-after", "7")) == 1);
}

TEST_CASE("HttpTransport says why nothing came back", "[http_transport]") {
  auto transport = HttpTransport::Create({});
  REQUIRE(transport.ok());
  const destination::Answer answer = Exchange(**transport, {.url = "http://127.0.0.1:1/"});
  CHECK(answer.status == 0);
  CHECK(answer.error_class == "refused_address");
  CHECK_FALSE(answer.network_error.empty());
}

TEST_CASE("HttpTransport refuses a network that is none", "[http_transport]") {
  const auto transport = HttpTransport::Create({.allowed_networks = {"here"}});
  CHECK(transport.status().code() == StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace millrace::transports
