#include "libs/destination/mapped_request.h"

#include <catch2/catch.hpp>

namespace millrace::destination {
namespace {

struct Decoded {
  std::vector<Prepared> requests;
  std::string error;
};

Decoded Decode(std::string output) {
  Decoded decoded;
  decoded.error = Message(RequestDecoder().Decode(&output, "EVENT", &decoded.requests));
  return decoded;
}

TEST_CASE("bodies of each kind") {
  const Decoded decoded = Decode(
      R"([{"url":"https://a/","json":{"a":[1,"\ud800"]}},
          {"method":"PUT","url":"http://a/?x=1#f","form":{"a b":"c&d","n":1.5,"t":true,"z":null},"query":{"q":"ä"}},
          {"url":"https://a","headers":{"Content-Type":"text/x"},"body":{"$raw":true}},
          {"url":"https://a","body":"te\"xt"},
          {"url":"https://a","headers":{"Content-Type":"application/vnd"},"json":1}])");
  INFO(decoded.error);
  REQUIRE(decoded.requests.size() == 5);
  const auto& [json, form, raw, text, typed] =
      std::tie(decoded.requests[0], decoded.requests[1], decoded.requests[2], decoded.requests[3],
               decoded.requests[4]);
  CHECK(json.method == "POST");
  CHECK(json.body == R"({"a":[1,"\ud800"]})");
  CHECK(json.headers == Headers{{"content-type", "application/json"}});
  CHECK(form.method == "PUT");
  CHECK(form.url == "http://a/?x=1&q=%C3%A4#f");
  CHECK(form.body == "a%20b=c%26d&n=1.5&t=true");
  CHECK(form.headers == Headers{{"content-type", "application/x-www-form-urlencoded"}});
  CHECK(raw.body == "EVENT");
  CHECK(raw.headers == Headers{{"Content-Type", "text/x"}});
  CHECK(text.body == "te\"xt");
  CHECK(typed.headers == Headers{{"Content-Type", "application/vnd"}});
  CHECK(typed.body == "1");
}

TEST_CASE("names of headers know no case: the last of one counts") {
  const Decoded decoded = Decode(
      R"({"url":"https://a/","json":1,"headers":{"Content-Type":"a/b","X":"1","content-type":"c/d",
          "AUTHORIZATION":"own"},
          "credentials":{"origins":["https://a"],"headers":{"authorization":"configured","x":"2","y":"3"}}})");
  INFO(decoded.error);
  REQUIRE(decoded.requests.size() == 1);
  CHECK(decoded.requests[0].headers ==
        Headers{{"X", "1"}, {"content-type", "c/d"}, {"AUTHORIZATION", "own"}, {"y", "3"}});
}

TEST_CASE("credentials go to their origins only") {
  struct Case {
    const char* url;
    const char* sent;
    bool with;
  };
  const auto c = GENERATE(values<Case>({
      {"https://u:p@a/x", "https://u:p@a/x?key=s&q=1", true},
      {"https://u:p@b/x", "https://b/x?q=1", false},
      {"https://u:p@sub.c/x", "https://u:p@sub.c/x?key=s&q=1", true},
      {"http://u:p@a/x", "http://a/x?q=1", false},
  }));
  CAPTURE(c.url);
  const Decoded decoded = Decode(
      fmt::format(R"({{"url":"{}","query":{{"q":1}},"credentials":{{"origins":["https://a/hook?t",
          "https://*.c"],"headers":{{"authorization":"s"}},"query":{{"key":"s"}},"in_url":true}}}})",
                  c.url));
  INFO(decoded.error);
  REQUIRE(decoded.requests.size() == 1);
  CHECK(decoded.requests[0].url == c.sent);
  CHECK(decoded.requests[0].headers == (c.with ? Headers{{"authorization", "s"}} : Headers{}));
}

TEST_CASE("what is no request is refused with the reason") {
  const std::pair<const char*, const char*> cases[] = {
      {"5", "neither an object nor an array"},
      {"[5]", "not an object"},
      {"{}", "'url'"},
      {R"({"url":"ftp://a"})", "'url'"},
      {R"({"url":"https://a b"})", "'url'"},
      {R"({"url":"https://a\r\nx"})", "'url'"},
      {R"({"url":7})", "'url' is not a text"},
      {R"({"url":"https://a","method":"GET /"})", "'method'"},
      {R"({"url":"https://a","headers":{"a":"b\nc"}})", "control characters"},
      {R"({"url":"https://a","headers":{"a b":"c"}})", "header name"},
      {R"({"url":"https://a","headers":{"a":[]}})", "headers.a"},
      {R"({"url":"https://a","form":"x"})", "'form' is not an object"},
      {R"({"url":"https://a","josn":1})", "no field 'josn'"},
      {R"({"url":"https://a","headers":{"x\"y":"c"}})", "header name"},
      {R"({"url":"https://a","headers":{"xä":"c"}})", "header name"},
      {R"({"url":"https://a\\@b/"})", "doubtful"},
      {R"({"url":"https://u@b@a/"})", "doubtful"},
      {R"({"url":"https://a","credentials":{"origin":"x"}})", "no field 'origin'"},
      {R"({"url":"https://a","credentials":{"origins":"x"}})", "'origins' is not a list"},
  };
  for (const auto& [output, message] : cases) {
    INFO(output);
    CHECK_THAT(Decode(output).error, Catch::Contains(message));
  }
}

}  // namespace
}  // namespace millrace::destination
