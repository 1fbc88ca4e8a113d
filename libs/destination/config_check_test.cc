#include <catch2/catch.hpp>

#include "libs/destination/catalogue.h"

namespace millrace::destination {
namespace {

v1::Definition MakeDefinition() {
  v1::Definition definition;
  definition.set_type("ACME");
  const auto add = [&](const char* name, v1::FieldKind kind) {
    v1::Field* field = definition.add_fields();
    field->set_name(name);
    field->set_kind(kind);
    field->set_doc("its doc");
    return field;
  };
  add("url", v1::STRING)->set_required(true);
  add("size", v1::NUMBER);
  add("on", v1::BOOLEAN);
  add("headers", v1::KEY_VALUE_LIST)->set_secret(true);
  add("names", v1::STRING_LIST);
  add("password", v1::STRING)->set_secret(true);
  v1::Field* method = add("method", v1::ENUM);
  method->add_options("GET");
  method->add_options("POST");
  return definition;
}

TEST_CASE("a configuration is checked field by field") {
  struct Case {
    const char* config;
    const char* message;  // "" = valid
  };
  const Case cases[] = {
      {R"({"url":"u"})", ""},
      {R"({"url":"u","size":"12","on":"true","method":"GET","names":["a"],"headers":[{"from":"a","to":"b"}]})",
       ""},
      {R"({"url":"u","unknown":{"extra":1},"method":"","size":null})", ""},
      {R"({})", "config.url is missing"},
      {R"({"url":""})", "config.url is missing"},
      {R"({"url":5})", "config.url must be a text"},
      {R"({"url":"u","size":"big"})", "config.size must be a number"},
      {R"({"url":"u","on":1})", "config.on must be true or false"},
      {R"({"url":"u","method":"PUT"})", "config.method must be one of GET, POST"},
      {R"({"url":"u","headers":{"a":"b"}})", "config.headers must be a list"},
      {R"({"url":"u","names":[1]})", "config.names must be a list"},
      {R"([1])", "must be a JSON object"},
      {R"({bad)", "must be a JSON object"},
  };
  const v1::Definition definition = MakeDefinition();
  for (const Case& test : cases) {
    INFO(test.config);
    const Status status = ValidateConfig(definition, test.config);
    if (std::string_view(test.message).empty()) {
      CHECK(status.ok());
    } else {
      CHECK(status.code() == StatusCode::kInvalidArgument);
      CHECK_THAT(std::string(Message(status)), Catch::Contains(test.message));
    }
  }
}

TEST_CASE("secrets are masked, the rest stays") {
  CHECK(MaskSecrets(MakeDefinition(),
                    R"({"url":"u","password":"p","headers":[{"from":"k","to":"v"}],"extra":1})") ==
        R"({"url":"u","password":"********","headers":[{"from":"k","to":"********"}],"extra":1})");
  CHECK(MaskSecrets(MakeDefinition(), R"({"password":""})") == R"({"password":""})");
  CHECK(MaskSecrets(MakeDefinition(), "{bad") == "{}");
}

}  // namespace
}  // namespace millrace::destination
