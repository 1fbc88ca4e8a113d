#include "services/router/masking.h"

#include <catch2/catch.hpp>

namespace millrace::router {
namespace {

TEST_CASE("MaskedExchange leaves no secret", "[masking]") {
  destination::v1::Definition definition;
  auto& url = *definition.add_fields();
  url.set_name("webhookUrl");
  url.set_secret(true);
  auto& headers = *definition.add_fields();
  headers.set_name("headers");
  headers.set_secret(true);
  const auto secrets = SecretsOf(
      definition,
      R"({"webhookUrl":"https://h.example/T0Psecret","headers":[{"from":"X-A","to":"canary-1"}],"x":"open"})");
  const auto exchange = MaskedExchange(
      {.url = "https://h.example/T0Psecret?x=1",
       .headers = {{"Authorization", "Basic abc"}, {"X-A", "v canary-1"}, {"X-B", "open"}},
       .body = "canary-1 " + std::string(20'000, 'x')},
      {.status = 400, .headers = {{"set-cookie", "s=1"}}, .body = "bad canary-1"}, secrets);
  CHECK(exchange.url() == "***?x=1");
  CHECK(exchange.request_headers().at("Authorization") == "***");
  CHECK(exchange.request_headers().at("X-A") == "v ***");
  CHECK(exchange.request_headers().at("X-B") == "open");
  CHECK(exchange.request_body().size() == 10 << 10);
  CHECK(exchange.response_headers().at("set-cookie") == "***");
  CHECK(exchange.response_body() == "bad ***");
  CHECK(exchange.DebugString().find("canary") == std::string::npos);
  CHECK(SecretsOf(definition, "no json").empty());
  const auto user = MaskedExchange({.url = "https://u:p@h.example/a"}, {}, {});
  CHECK(user.url() == "https://***@h.example/a");
}

}  // namespace
}  // namespace millrace::router
