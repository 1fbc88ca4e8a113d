#include "libs/destination/config.h"

#include <catch2/catch.hpp>

namespace millrace::destination {
namespace {

v1::Field* Add(const char* name, v1::FieldKind kind, v1::Definition* definition) {
  v1::Field* field = definition->add_fields();
  field->set_name(name);
  field->set_kind(kind);
  field->set_doc("its doc");
  return field;
}

v1::Definition MakeDefinition() {
  v1::Definition definition;
  definition.set_type("ACME");
  Add("url", v1::STRING, &definition)->set_required(true);
  v1::Field* size = Add("size", v1::NUMBER, &definition);
  size->set_minimum(-5);
  size->set_maximum(1000);
  Add("ratio", v1::NUMBER, &definition);
  Add("on", v1::BOOLEAN, &definition);
  Add("headers", v1::KEY_VALUE_LIST, &definition)->set_secret(true);
  Add("names", v1::STRING_LIST, &definition);
  Add("password", v1::STRING, &definition)->set_secret(true);
  v1::Field* method = Add("method", v1::ENUM, &definition);
  method->add_options("GET");
  method->add_options("POST");
  method->set_default_json(R"("POST")");
  Add("any", v1::JSON, &definition);
  Add("origins", v1::ORIGIN_LIST, &definition);
  return definition;
}

TEST_CASE("a configuration is read field by field, each in its kind") {
  struct Case {
    const char* given;
    const char* read;  // what a mapping gets, without url and method
  };
  const auto c = GENERATE(values<Case>({
      {"{}", ""},
      {R"({"size":"12","ratio":"1.5","on":"true"})", R"("size":12,"ratio":1.5,"on":true)"},
      {R"({"size":12,"ratio":1.5,"on":false})", R"("size":12,"ratio":1.5,"on":false)"},
      {R"({"size":" 7 ","ratio":2.0,"on":"false"})", R"("size":7,"ratio":2,"on":false)"},
      {R"({"size":null,"on":"","names":"","headers":null,"any":""})", ""},
      {R"({"names":["a"," b ",""]})", R"("names":["a","b"])"},
      {R"({"names":" a, b ,,c"})", R"("names":["a","b","c"])"},
      {R"({"names":[{"eventName":"a"},"b"]})", R"("names":["a","b"])"},
      {R"({"headers":[{"from":"a","to":"b","extra":1},{"from":"","to":""},{"from":"n","to":5},{"to":true}]})",
       R"("headers":[{"from":"a","to":"b"},{"from":"n","to":"5"},{"from":"","to":"true"}])"},
      {R"({"any":{"a":[1,"2"]}})", R"("any":{"a":[1,"2"]})"},
      // What the definition does not know reaches no mapping.
      {R"({"unknown":{"extra":1},"__proto__":{"on":true}})", ""},
  }));
  CAPTURE(c.given);
  std::string given(c.given);
  given.insert(1, given == "{}" ? R"("url":"u")" : R"("url":"u",)");
  const auto config = NormaliseConfig(MakeDefinition(), given);
  INFO(Message(config.status()));
  REQUIRE(config.ok());
  std::string expected = R"({"url":"u",)" + std::string(c.read);
  // The default stands in the definition's order, before `any`.
  const size_t any = expected.find(R"("any")");
  const std::string method = R"("method":"POST")";
  if (any != std::string::npos) {
    expected.insert(any, method + ",");
  } else {
    expected += std::string(*c.read == '\0' ? "" : ",") + method;
  }
  CHECK(config->json() == expected + "}");
}

TEST_CASE("a wrong configuration names the key") {
  struct Case {
    const char* config;
    const char* message;
  };
  const auto c = GENERATE(values<Case>({
      {R"({})", "config.url is missing; set it: its doc"},
      {R"({"url":""})", "config.url is missing"},
      {R"({"url":5})", "config.url must be a text: its doc"},
      {R"({"url":"u","size":"big"})", "config.size must be a number from -5 to 1000"},
      {R"({"url":"u","size":1001})", "config.size must be a number from -5 to 1000"},
      {R"({"url":"u","size":"-6"})", "config.size must be a number from -5 to 1000"},
      {R"({"url":"u","ratio":"1x"})", "config.ratio must be a number"},
      {R"({"url":"u","ratio":"inf"})", "config.ratio must be a number"},
      {R"({"url":"u","ratio":"nan"})", "config.ratio must be a number"},
      {R"({"url":"u","ratio":true})", "config.ratio must be a number"},
      {R"({"url":"u","on":1})", "config.on must be true or false"},
      {R"({"url":"u","on":"yes"})", "config.on must be true or false"},
      {R"({"url":"u","method":"PUT"})", "config.method must be one of GET, POST"},
      {R"({"url":"u","headers":{"a":"b"}})", "config.headers must be a list"},
      {R"({"url":"u","headers":["a"]})", "config.headers must be a list"},
      {R"({"url":"u","headers":[{"from":["a"],"to":"b"}]})", "config.headers must be a list"},
      {R"({"url":"u","names":[1]})", "config.names must be a list"},
      {R"({"url":"u","names":{"a":"b"}})", "config.names must be a list"},
      {R"({"url":"u","origins":["api.example"]})", "config.origins must be a list of origins"},
      {R"({"url":"u","origins":["https://"]})", "config.origins must be a list of origins"},
      {R"({"url":"u","origins":["https://a/b"]})", "config.origins must be a list of origins"},
      {R"({"url":"u","origins":["https://u@a"]})", "config.origins must be a list of origins"},
      {R"({"url":"u","origins":["https://*"]})", "config.origins must be a list of origins"},
      {R"({"url":"u","origins":["https://a.*"]})", "config.origins must be a list of origins"},
      {R"([1])", "must be a JSON object"},
      {R"({bad)", "must be a JSON object"},
      {"", "must be a JSON object"},
  }));
  CAPTURE(c.config);
  const Status status = NormaliseConfig(MakeDefinition(), c.config).status();
  CHECK(status.code() == StatusCode::kInvalidArgument);
  CHECK_THAT(std::string(Message(status)), Catch::Contains(c.message));
}

TEST_CASE("the readers give each field in its kind, and nothing for what is not set") {
  const auto config = NormaliseConfig(
      MakeDefinition(), R"({"url":"u","size":"12","on":"true","names":"a,b","unknown":"x"})");
  REQUIRE(config.ok());
  CHECK(config->Text("url") == "u");
  CHECK(config->Text("method") == "POST");
  CHECK(config->Number("size") == 12.0);
  CHECK(config->Flag("on"));
  CHECK(config->List("names") == std::vector<std::string>{"a", "b"});
  CHECK(config->Text("password").empty());
  CHECK_FALSE(config->Number("ratio").has_value());
  CHECK(config->Text("unknown").empty());
  CHECK(config->Text("on").empty());
}

TEST_CASE("origins are read in lower case") {
  const auto config = NormaliseConfig(
      MakeDefinition(),
      R"({"url":"u","origins":"https://API.example/, http://*.b.example:8080,https://[::1]"})");
  REQUIRE(config.ok());
  CHECK(config->List("origins") == std::vector<std::string>{"https://api.example",
                                                            "http://*.b.example:8080",
                                                            "https://[::1]"});
}

TEST_CASE("secrets are the texts of secret fields, of key-value lists the values") {
  const auto config = NormaliseConfig(
      MakeDefinition(),
      R"({"url":"u","password":"p","headers":[{"from":"name","to":"v"},{"from":"n2","to":5}]})");
  REQUIRE(config.ok());
  CHECK(config->secrets() == std::vector<std::string>{"v", "5", "p"});
}

TEST_CASE("a default must be of its field's kind") {
  struct Case {
    v1::FieldKind kind;
    const char* value;
    const char* message;  // "" = good
  };
  const auto c = GENERATE(values<Case>({
      {v1::BOOLEAN, "false", ""},
      {v1::BOOLEAN, "\"false\"", "must be true or false, as JSON"},
      {v1::NUMBER, "5", ""},
      {v1::NUMBER, "\"5\"", "must be a number, as JSON"},
      {v1::STRING, "\"a\"", ""},
      {v1::STRING, "a", "must be"},
      {v1::STRING_LIST, R"(["a"])", ""},
      {v1::STRING_LIST, R"("a")", "must be a list of texts"},
  }));
  CAPTURE(c.kind, c.value);
  v1::Field field;
  field.set_kind(c.kind);
  field.set_default_json(c.value);
  CHECK_THAT(std::string(Message(CheckDefault(field))), Catch::StartsWith(c.message));
}

TEST_CASE("secrets are masked, the rest stays as it was given") {
  CHECK(MaskSecrets(MakeDefinition(),
                    R"({"url":"u","password":"p","headers":[{"from":"k","to":"v"}],"extra":1})") ==
        R"({"url":"u","password":"********","headers":[{"from":"k","to":"********"}],"extra":1})");
  CHECK(MaskSecrets(MakeDefinition(), R"({"password":""})") == R"({"password":""})");
  CHECK(MaskSecrets(MakeDefinition(), "{bad") == "{}");
}

}  // namespace
}  // namespace millrace::destination
