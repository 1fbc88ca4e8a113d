#include "libs/destination/credentials.h"

#include <catch2/catch.hpp>

namespace millrace::destination {
namespace {

TEST_CASE("a URL has an origin when scheme, host and port are the same", "[credentials]") {
  struct Case {
    const char* url;
    const char* origin;
    bool has;
  };
  const auto c = GENERATE(values<Case>({
      {"https://a.example/x", "https://a.example", true},
      {"https://a.example/x", "https://a.example/other?y", true},
      {"https://A.Example:443/x", "https://a.example", true},
      {"https://user:pass@a.example/", "https://a.example", true},
      {"https://b.example/", "https://a.example", false},
      {"http://a.example/", "https://a.example", false},
      {"https://a.example:444/", "https://a.example", false},
      {"https://a.example.b.example/", "https://a.example", false},
      {"https://a.example@b.example/", "https://a.example", false},
      {"https://b.example/https://a.example", "https://a.example", false},
      {"https://b.example#@a.example/", "https://a.example", false},
      {"https://a.example./", "https://a.example", false},
      {"https://x.a.example/", "https://*.a.example", true},
      {"https://y.x.a.example/", "https://*.a.example", true},
      {"https://a.example/", "https://*.a.example", false},
      {"https://.a.example/", "https://*.a.example", false},
      {"https://xa.example/", "https://*.a.example", false},
      {"https://x.a.example:8443/", "https://*.a.example:8443", true},
      {"https://x.a.example/", "https://*.a.example:8443", false},
      {"no URL", "https://a.example", false},
  }));
  CAPTURE(c.url, c.origin);
  CHECK(HasOrigin(c.url, {"https://other.example", c.origin}) == c.has);
}

TEST_CASE("user and password leave a URL", "[credentials]") {
  struct Case {
    const char* url;
    const char* without;
  };
  const auto c = GENERATE(values<Case>({
      {"https://u:p@a.example/x@y", "https://a.example/x@y"},
      {"https://u@a.example", "https://a.example"},
      {"https://u@b@a.example", "https://a.example"},
      {"https://a.example/?q=u@b", "https://a.example/?q=u@b"},
  }));
  std::string url = c.url;
  RemoveUser(&url);
  CHECK(url == c.without);
}

TEST_CASE("a server that readers may find in different places is doubtful", "[credentials]") {
  for (const char* plain : {"https://a.example", "https://u:p%40@a.example:1/x\\y@z",
                            "http://[::1]:8/", "https://bücher.example/"}) {
    CAPTURE(plain);
    CHECK(HasPlainAuthority(plain));
  }
  for (const char* doubtful :
       {"https://a.example\\@b.example/", "https://a.example\\.b.example", "https://u@b@a.example/",
        "https://a.example\"b/", "https://<a>/", "https:///x", "https://a{b}/", "https://a|b/"}) {
    CAPTURE(doubtful);
    CHECK_FALSE(HasPlainAuthority(doubtful));
  }
}

}  // namespace
}  // namespace millrace::destination
