#include "libs/secrets/mask.h"

#include <catch2/catch.hpp>

namespace millrace::secrets {
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
      {"the abc of it is ordinary text", "the abc of it is ordinary text"},
  }));
  CAPTURE(c.text);
  CHECK(mask.Apply(c.text) == c.masked);
}

TEST_CASE("a secret that may be ordinary text is masked as a whole value only") {
  const Mask mask({"x", "1234", "exists", "password"});
  struct Case {
    const char* text;
    const char* masked;
  };
  const auto c = GENERATE(values<Case>({
      {"relation \"t\" already exists", "relation \"t\" already exists"},
      {"password authentication failed for user \"u\"",
       "password authentication failed for user \"u\""},
      {"the index is 12345, of x and y", "the index is 12345, of x and y"},
      {"tax=5 at host:12340", "tax=5 at host:12340"},
      {"x", "***"},
      {"host=h password=1234 port=1", "host=h password=*** port=1"},
      {"host=h password = x", "host=h password = ***"},
      {"postgres://u:x@h/d", "postgres://u:***@h/d"},
      {"{\"key\":\"x\",\"n\":1234}", "{\"key\":\"***\",\"n\":***}"},
      {"{\\\"key\\\":\\\"x\\\"}", "{\\\"key\\\":\\\"***\\\"}"},
      {"got 'exists' and `x`", "got '***' and `***`"},
      {"/?token=1234&a=x", "/?token=***&a=***"},
  }));
  CAPTURE(c.text);
  CHECK(mask.ApplyToMessage(c.text) == c.masked);
}

TEST_CASE("a secret of four bytes is masked as a word, never within one") {
  const Mask mask({"abcd", "key", "hunter", "a-much-longer-secret"});
  CHECK(mask.Apply("Bearer abcd") == "Bearer ***");
  CHECK(mask.Apply("abcd, abcde; x-abcd, äabcd") == "***, abcde; x-abcd, äabcd");
  CHECK(mask.Apply("the token hunter of hunters") == "the token *** of hunters");
  CHECK(mask.Apply("the key of it") == "the key of it");
  CHECK(mask.Apply("xa-much-longer-secretx") == "x***x");
}

TEST_CASE("a long secret is masked wherever it stands") {
  CHECK(Mask({"s3cr3t"}).Apply("as3cr3tb s3cr3t") == "a***b ***");
  CHECK(Mask({"abcdefghijkl"}).Apply("xabcdefghijklx") == "x***x");
}

TEST_CASE("a secret that is stars ends, and no secret is nothing") {
  CHECK(Mask({"******"}).Apply("************") == "******");
  CHECK(Mask({""}).Apply("text") == "text");
  CHECK(Mask().Apply("text") == "text");
}

}  // namespace
}  // namespace millrace::secrets
