#include "libs/http/url.h"

#include <catch2/catch.hpp>

namespace millrace::http {
namespace {

TEST_CASE("ParseUrl says what will be connected to", "[url]") {
  struct Case {
    const char* text;
    const char* normal;
    const char* host;
    int port;
    bool literal;
  };
  const auto c = GENERATE(values<Case>({
      {"https://Api.Example.com", "https://Api.Example.com/", "api.example.com", 443, false},
      {" HTTP://a.example:8080/x?y=1#z ", "http://a.example:8080/x?y=1#z", "a.example", 8080,
       false},
      {"http://a.example/a b?c=d e", "http://a.example/a%20b?c=d+e", "a.example", 80, false},
      {"http://127.0.0.1/", "http://127.0.0.1/", "127.0.0.1", 80, true},
      {"http://2130706433/", "http://127.0.0.1/", "127.0.0.1", 80, true},
      {"http://0x7f.1/", "http://127.0.0.1/", "127.0.0.1", 80, true},
      {"http://0177.0.0.1/", "http://127.0.0.1/", "127.0.0.1", 80, true},
      {"http://127.1/", "http://127.0.0.1/", "127.0.0.1", 80, true},
      {"http://0/", "http://0.0.0.0/", "0.0.0.0", 80, true},
      {"http://public.example@127.0.0.1/", "http://public.example@127.0.0.1/", "127.0.0.1", 80,
       true},
      {"http://[::1]:81/", "http://[::1]:81/", "::1", 81, true},
      {"tcp://a.example/x", "tcp://a.example/x", "a.example", 0, false},
  }));
  CAPTURE(c.text);
  Url url;
  REQUIRE(ParseUrl(c.text, &url));
  CHECK(url.text == c.normal);
  CHECK(url.host == c.host);
  CHECK(url.port == c.port);
  CHECK(url.literal == c.literal);
}

TEST_CASE("ParseUrl refuses what is no URL", "[url]") {
  const auto* const text = GENERATE("", "a", "/path", "http://", "http://a b/",
                                    "http://a\n.example/", "http://a:99999/");
  CAPTURE(text);
  Url url;
  CHECK_FALSE(ParseUrl(text, &url));
}

TEST_CASE("ResolveUrl follows references", "[url]") {
  Url base;
  REQUIRE(ParseUrl("https://u:p@a.example/x/y?z", &base));
  Url url;
  REQUIRE(ResolveUrl(base, "w", &url));
  CHECK(url.text == "https://u:p@a.example/x/w");
  REQUIRE(ResolveUrl(base, "//b.example/", &url));
  CHECK(url.text == "https://b.example/");
  REQUIRE(ResolveUrl(base, "http://2852039166/latest", &url));
  CHECK(url.text == "http://169.254.169.254/latest");
  CHECK(url.Origin() == "http://169.254.169.254:80");
}

}  // namespace
}  // namespace millrace::http
