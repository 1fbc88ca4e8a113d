#include "libs/http/request_rules.h"

#include <catch2/catch.hpp>

#include <cctype>

namespace millrace::http {
namespace {

ClientRequest With(Headers headers) {
  return {.url = "https://tool.example/x", .headers = std::move(headers), .body = "x"};
}

std::string UpperOf(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

std::string MixedOf(std::string text) {
  for (size_t i = 0; i < text.size(); i += 2) {
    text[i] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[i])));
  }
  return text;
}

TEST_CASE("headers that frame or are for one hop never leave, in whatever case", "[rules]") {
  const std::string name = GENERATE(values<std::string>(
      {"content-length", "transfer-encoding", "host", "connection", "expect", "upgrade", "te",
       "trailer", "trailers", "keep-alive", "http2-settings", "proxy-authorization",
       "proxy-connection", "proxy-authenticate", "proxy-anything"}));
  for (const std::string& written : {name, UpperOf(name), MixedOf(name)}) {
    CAPTURE(written);
    ClientRequest request = With({{"X-A", "1"}, {written, "chunked\r\nX: y"}, {"X-B", "2"}});
    std::vector<std::string_view> dropped;
    CHECK(TidyRequest(request, &dropped).empty());
    CHECK(request.headers == Headers{{"X-A", "1"}, {"X-B", "2"}});
    REQUIRE(dropped.size() == 1);
    CHECK(dropped[0] == (name.rfind("proxy-", 0) == 0 ? "proxy-*" : name));
  }
}

TEST_CASE("headers that only look like those are sent", "[rules]") {
  const Headers headers = {{"X-Host", "1"}, {"Content-Lengths", "2"},
                           {"Proxy", "3"},  {"Content-Encoding", "gzip"},
                           {"Hosts", "4"},  {"Tea", "5"}};
  ClientRequest request = With(headers);
  std::vector<std::string_view> dropped;
  CHECK(TidyRequest(request, &dropped).empty());
  CHECK(request.headers == headers);
  CHECK(dropped.empty());
}

TEST_CASE("names know no case: one of each is sent, the last one's value", "[rules]") {
  ClientRequest request = With({{"Content-Type", "application/json"},
                                {"Authorization", "Basic a"},
                                {"X-Key", "1"},
                                {"content-type", "text/plain"},
                                {"AUTHORIZATION", "Bearer b"},
                                {"Content-TYPE", "text/xml"}});
  std::vector<std::string_view> dropped;
  CHECK(TidyRequest(request, &dropped).empty());
  CHECK(request.headers ==
        Headers{{"Content-Type", "text/xml"}, {"Authorization", "Bearer b"}, {"X-Key", "1"}});
}

TEST_CASE("a request with a character that could end a line is refused wherever it stands",
          "[rules]") {
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const std::string broken = std::string("a") + c + "b";
    const bool control = byte < 0x20 || byte == 0x7f;
    CAPTURE(byte);
    std::vector<std::string_view> dropped;
    ClientRequest value = With({{"X-Value", broken}});
    CHECK(TidyRequest(value, &dropped).empty() == (!control || c == '\t'));
    ClientRequest name = With({{broken, "v"}});
    const bool token = std::isalnum(byte) != 0 ||
                       std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
    CHECK(TidyRequest(name, &dropped).empty() == (token && byte < 0x80));
    ClientRequest url = With({});
    url.url += broken;
    CHECK(TidyRequest(url, &dropped).empty() == !control);
    ClientRequest method = With({});
    method.method = broken;
    CHECK(TidyRequest(method, &dropped).empty() == (token && byte < 0x80));
  }
}

TEST_CASE("methods and addresses that are no requests of ours are refused", "[rules]") {
  struct Case {
    const char* name;
    std::string method, url, body;
    bool good;
  };
  const auto c = GENERATE(values<Case>({
      {"a method of the user's own", "PURGE", "http://a/", "x", true},
      {"GET with a body", "GET", "http://a/", "x", true},
      {"HEAD", "HEAD", "http://a/", "", true},
      {"HEAD with a body", "HEAD", "http://a/", "x", false},
      {"no method", "", "http://a/", "x", false},
      {"two words", "GET /x", "http://a/", "x", false},
      {"a long one", std::string(33, 'A'), "http://a/", "x", false},
      {"a tunnel", "CONNECT", "http://a/", "", false},
      {"a tunnel in lower case", "connect", "http://a/", "", false},
      {"an echo of credentials", "TRACE", "http://a/", "", false},
      {"upper case scheme", "POST", "HTTPS://a/", "x", true},
      {"a file", "POST", "file:///etc/passwd", "x", false},
      {"gopher", "POST", "gopher://a/", "x", false},
      {"no scheme", "POST", "a/b", "x", false},
      {"no URL", "POST", "", "x", false},
  }));
  CAPTURE(c.name);
  ClientRequest request{.method = c.method, .url = c.url, .body = c.body};
  std::vector<std::string_view> dropped;
  CHECK(TidyRequest(request, &dropped).empty() == c.good);
}

}  // namespace
}  // namespace millrace::http
