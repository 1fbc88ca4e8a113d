#include "services/millrace/cli/rest_client.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <vector>

#include "libs/http/server.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

/// A real server on a free port that says what it was asked.
std::unique_ptr<http::Server> Echo() {
  auto server = http::Server::Start({}, [](const http::Request& request, const http::Responder& responder) {
    if (request.path == "/lines") {
      const auto writer = responder.Stream({.headers = {{"Content-Type", "application/x-ndjson"}}});
      writer->Write("{\"n\":1}\n\n{\"n\"");
      writer->Write(":2}\n");
      writer->Close();
      return;
    }
    if (request.path == "/no") {
      return responder.Send({.status = 409, .body = R"({"error":{"code":"x","message":"changed"}})"});
    }
    if (request.path == "/broken") return responder.Send({.status = 500, .body = "oops\n"});
    const Json json = {{"method", request.method},
                       {"path", request.path},
                       {"query", request.query},
                       {"authorization", std::string(request.Header("authorization"))},
                       {"body", std::string(request.body.view())}};
    responder.Send({.body = json.dump()});
  });
  REQUIRE(server.ok());
  return *std::move(server);
}

}  // namespace

TEST_CASE("requests carry the token, answers come as JSON", "[cli]") {
  const auto server = Echo();
  auto client = RestClient::Create(fmt::format("http://127.0.0.1:{}", server->port()), "secret");
  REQUIRE(client.ok());
  const auto got = client->Get("/api/v1/x?a=1%202");
  REQUIRE(got.ok());
  CHECK((*got)["path"] == "/api/v1/x");
  CHECK((*got)["query"] == "a=1%202");
  CHECK((*got)["authorization"] == "Bearer secret");
  const auto posted = client->Post("/y", Json{{"k", "v"}});
  REQUIRE(posted.ok());
  CHECK((*posted)["body"] == R"({"k":"v"})");
  const auto sent = client->Ingest("/v1/batch", "key", "{}");
  REQUIRE(sent.ok());
  CHECK(Json::parse(*sent)["authorization"] == "Basic a2V5Og==");
  server->Stop(std::chrono::milliseconds(100));
}

TEST_CASE("a refusal carries the server's reason", "[cli]") {
  const auto server = Echo();
  auto client = RestClient::Create(fmt::format("http://127.0.0.1:{}", server->port()), "t");
  REQUIRE(client.ok());
  const auto no = client->Get("/no");
  CHECK(no.status().code() == StatusCode::kAborted);
  CHECK(Message(no.status()) == "changed");
  CHECK(Message(client->Get("/broken").status()) == "the server answered 500: oops");
  const uint16_t port = server->port();
  server->Stop(std::chrono::milliseconds(100));
  auto late = RestClient::Create(fmt::format("http://127.0.0.1:{}", port), "t");
  REQUIRE(late.ok());
  CHECK(late->Get("/x").status().code() == StatusCode::kUnavailable);
  CHECK(RestClient::Create("ftp://x", "t").status().code() == StatusCode::kInvalidArgument);
  CHECK(RestClient::Create("127.0.0.1:8080", "t").status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("a stream is handed on line by line", "[cli]") {
  const auto server = Echo();
  auto client = RestClient::Create(fmt::format("http://127.0.0.1:{}", server->port()), "t");
  REQUIRE(client.ok());
  std::vector<std::string> lines;
  REQUIRE(client->Stream("/lines", [&](std::string_view line) {
    lines.emplace_back(line);
    return true;
  }).ok());
  CHECK(lines == std::vector<std::string>{"{\"n\":1}", "{\"n\":2}"});
  lines.clear();
  REQUIRE(client->Stream("/lines", [&](std::string_view line) {
    lines.emplace_back(line);
    return false;
  }).ok());
  CHECK(lines.size() == 1);
  server->Stop(std::chrono::milliseconds(100));
}

}  // namespace millrace::cli
