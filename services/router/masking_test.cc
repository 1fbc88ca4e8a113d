#include "services/router/masking.h"

#include <catch2/catch.hpp>

namespace millrace::router {
namespace {

destination::v1::Definition MakeDefinition() {
  destination::v1::Definition definition;
  const auto add = [&](const char* name, destination::v1::FieldKind kind) {
    auto& field = *definition.add_fields();
    field.set_name(name);
    field.set_kind(kind);
    field.set_secret(true);
  };
  add("webhookUrl", destination::v1::STRING);
  add("headers", destination::v1::KEY_VALUE_LIST);
  return definition;
}

TEST_CASE("MaskedExchange leaves no secret", "[masking]") {
  const auto mask = MaskOf(
      MakeDefinition(),
      R"({"webhookUrl":"https://h.example/T0Psecret","headers":[{"from":"X-A","to":"canary-1"}],"x":"open"})");
  const auto exchange = MaskedExchange(
      {.url = "https://h.example/T0Psecret?x=1",
       .headers = {{"Authorization", "Basic abc"}, {"X-A", "v canary-1"}, {"X-B", "open"}},
       .body = "canary-1 " + std::string(20'000, 'x')},
      {.status = 400, .headers = {{"set-cookie", "s=1"}}, .body = "bad canary-1"}, mask);
  CHECK(exchange.url() == "***?x=1");
  CHECK(exchange.request_headers().at("Authorization") == "***");
  CHECK(exchange.request_headers().at("X-A") == "v ***");
  CHECK(exchange.request_headers().at("X-B") == "open");
  CHECK(exchange.request_body().size() == 10 << 10);
  CHECK(exchange.response_headers().at("set-cookie") == "***");
  CHECK(exchange.response_body() == "bad ***");
  CHECK(exchange.DebugString().find("canary") == std::string::npos);
  CHECK(MaskOf(MakeDefinition(), "no json").empty());
  const auto user = MaskedExchange({.url = "https://u:p@h.example/a"}, {}, {});
  CHECK(user.url() == "https://***@h.example/a");
}

TEST_CASE("A short secret garbles no exchange, and the name of a secret header stays",
          "[masking]") {
  const auto mask = MaskOf(MakeDefinition(), R"({"headers":[{"from":"X-Mode","to":"x"}]})");
  const auto exchange =
      MaskedExchange({.url = "https://ex.example/fix", .headers = {{"X-Mode", "x"}}},
                     {.status = 409, .body = R"({"error":"already exists","mode":"x"})"}, mask);
  CHECK(exchange.url() == "https://ex.example/fix");
  CHECK(exchange.request_headers().at("X-Mode") == "***");
  CHECK(exchange.response_body() == R"({"error":"already exists","mode":"***"})");
}

}  // namespace
}  // namespace millrace::router
