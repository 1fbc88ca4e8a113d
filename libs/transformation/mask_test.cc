#include "libs/transformation/mask.h"

#include <catch2/catch.hpp>

namespace millrace::transformation {
namespace {

TEST_CASE("secrets are masked in every form they are written in") {
  const Mask mask({"top secret", "abc", "quo\"ted", "top secret and more", "é/+ x"});
  struct Case {
    const char* text;
    const char* masked;
  };
  const auto c = GENERATE(values<Case>({
      {"", ""},
      {"nothing here", "nothing here"},
      {"a top secret, a top secret", "a ***, a ***"},
      {"top secret and more", "***"},
      {"https://a.example/?key=top%20secret", "https://a.example/?key=***"},
      {"https://a.example/?key=top+secret", "https://a.example/?key=***"},
      {"%C3%A9%2F%2B%20x", "***"},
      {"https://a.example/%c3%a9/+%20x?q=%c3%a9/++x", "https://a.example/***?q=***"},
      {"{\"k\":\"quo\\\"ted\"}", "{\"k\":\"***\"}"},
      {"quo\"ted", "***"},
      {"abc is too short to be looked for", "abc is too short to be looked for"},
  }));
  CAPTURE(c.text);
  CHECK(mask.Apply(c.text) == c.masked);
}

TEST_CASE("a secret that is stars ends") {
  CHECK(Mask({"****"}).Apply("********") == "******");
}

}  // namespace
}  // namespace millrace::transformation
