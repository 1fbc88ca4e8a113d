#include "libs/transformation/builtin_libraries.h"

#include <catch2/catch.hpp>

#include "libs/transformation/transformer_testing.h"

namespace millrace::transformation {
namespace {

TEST_CASE("@rs/hash/v1 hashes as everybody does") {
  TestFactory test;
  const std::string code =
      "import hash, {md5, sha1, sha256} from '@rs/hash/v1';"
      "export const transformEvent = ({text}) => ({md5: md5(text), sha1: hash.sha1(text), sha256: "
      "sha256(text), same: sha1(text) === hash.sha1(text)});";
  CHECK(
      test.Run(code, {R"({"text":""})", R"({"text":"h\u00e4user"})"}) ==
      std::vector<std::string>{
          R"({"md5":"d41d8cd98f00b204e9800998ecf8427e","sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","same":true})",
          R"({"md5":"585c4c2b6360ff5be2d71b8f42191716","sha1":"599fc3139d23a315a7efc55c6aa2d6ea8505dfa2","sha256":"34c94dbc2853cfdeb05bc68864b5a4c08dda7cc38ad3219612703b73d49c4a07","same":true})"});
}

TEST_CASE("@rs/urlParser/v1 reads URLs as browsers do") {
  TestFactory test;
  const std::string code =
      "import url, {URL, URLSearchParams} from '@rs/urlParser/v1';"
      "export const transformEvent = ({href}) => { const u = new URL(href), p = u.searchParams;"
      "  return {host: u.host, path: u.pathname, origin: u.origin, hash: u.hash, q: p.get('q'), "
      "all: "
      "p.getAll('a'), none: p.get('none'), text: new url.URLSearchParams(u.search).toString(),"
      "  href: new URL('../x?y', u).href}; };";
  CHECK(
      test.Run(code, {R"({"href":"https://Shop.Example:443/a/b?q=1+2%203&a=x&a=%zz#top"})"}) ==
      std::vector<std::string>{
          R"({"host":"shop.example","path":"/a/b","origin":"https://shop.example","hash":"#top","q":"1 2 3","all":["x","%zz"],"none":null,"text":"q=1+2+3&a=x&a=%25zz","href":"https://shop.example/x?y"})"});
  CHECK(test.Run(code, {R"({"href":"shop"})"}) ==
        std::vector<std::string>{"thrown: TypeError: Invalid URL: shop"});
}

TEST_CASE("only what we have is ours") {
  CHECK(BuiltinLibrary("@rs/hash/v1").has_value());
  CHECK_FALSE(BuiltinLibrary("@rs/hash/v2").has_value());
  CHECK_FALSE(BuiltinLibrary("hash").has_value());
}

}  // namespace
}  // namespace millrace::transformation
