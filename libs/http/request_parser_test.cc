#include "libs/http/request_parser.h"

#include <catch2/catch.hpp>

#include <random>
#include <tuple>

using namespace millrace::http;

namespace {

// What the parser says of a head, as the connection uses it: the finder first.
int StatusOf(const std::string& text, Head* head) {
  HeadFinder finder;
  const auto state = finder.Scan(text);
  if (state == HeadFinder::State::kBad) return 400;
  if (state == HeadFinder::State::kMore) return -1;
  return ParseHead(std::string_view(text).substr(0, finder.size()), 64, head).status;
}

}  // namespace

TEST_CASE("Heads that two parsers could read in two ways are refused", "[http]") {
  using namespace std::string_literals;
  const std::string host = "Host: a\r\n";
  struct Case {
    const char* name;
    std::string text;
    int status;
  };
  const auto c = GENERATE_COPY(values<Case>({
      {"plain", "GET / HTTP/1.1\r\n" + host + "\r\n", 0},
      {"1.0 without Host", "GET / HTTP/1.0\r\n\r\n", 0},
      {"absolute form", "GET http://a/x?y HTTP/1.1\r\n" + host + "\r\n", 0},
      {"chunked", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: Chunked\r\n\r\n", 0},
      {"length", "POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\n", 0},
      {"obs-text in a value", "GET / HTTP/1.1\r\n" + host + "X: \xe9\r\n\r\n", 0},
      {"length and chunked",
       "POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
       400},
      {"chunked and length",
       "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
       400},
      {"two lengths",
       "POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
      {"two equal lengths",
       "POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
      {"list of lengths", "POST / HTTP/1.1\r\n" + host + "Content-Length: 5, 5\r\n\r\n", 400},
      {"signed length", "POST / HTTP/1.1\r\n" + host + "Content-Length: +5\r\n\r\n", 400},
      {"hex length", "POST / HTTP/1.1\r\n" + host + "Content-Length: 0x5\r\n\r\n", 400},
      {"empty length", "POST / HTTP/1.1\r\n" + host + "Content-Length:\r\n\r\n", 400},
      {"huge length", "POST / HTTP/1.1\r\n" + host + "Content-Length: 18446744073709551617\r\n\r\n",
       400},
      {"gzip, chunked", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n",
       400},
      {",chunked", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: ,chunked\r\n\r\n", 400},
      {"xchunked", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n", 400},
      {"identity", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: identity\r\n\r\n", 400},
      {"chunked twice",
       "POST / HTTP/1.1\r\n" + host +
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
       400},
      {"chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"vertical tab before chunked",
       "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: \vchunked\r\n\r\n", 400},
      {"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"two Hosts", "GET / HTTP/1.1\r\n" + host + host + "\r\n", 400},
      {"Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
      {"bare LF", "GET / HTTP/1.1\nHost: a\n\n", 400},
      {"bare LF in a header", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400},
      {"bare CR in a header", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400},
      {"NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"s, 400},
      {"NUL in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n"s, 400},
      {"folded line", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400},
      {"folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
      {"space before colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
      {"no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400},
      {"empty name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400},
      {"space in the target", "GET /a b HTTP/1.1\r\n" + host + "\r\n", 400},
      {"two spaces", "GET  / HTTP/1.1\r\n" + host + "\r\n", 400},
      {"tab", "GET\t/ HTTP/1.1\r\n" + host + "\r\n", 400},
      {"non-ASCII target", "GET /\xc3\xa9 HTTP/1.1\r\n" + host + "\r\n", 400},
      {"fragment", "GET /#a HTTP/1.1\r\n" + host + "\r\n", 400},
      {"bad escape", "GET /%zz HTTP/1.1\r\n" + host + "\r\n", 400},
      {"no slash", "GET a HTTP/1.1\r\n" + host + "\r\n", 400},
      {"HTTP/0.9", "GET /\r\n\r\n", 400},
      {"HTTP/2.0", "GET / HTTP/2.0\r\n" + host + "\r\n", 505},
      {"HTTP/1.10", "GET / HTTP/1.10\r\n" + host + "\r\n", 400},
      {"unknown method", "BREW / HTTP/1.1\r\n" + host + "\r\n", 501},
      {"lower-case method", "get / HTTP/1.1\r\n" + host + "\r\n", 501},
      {"bad method", "G@T / HTTP/1.1\r\n" + host + "\r\n", 400},
      {"long target", "GET /" + std::string(64, 'a') + " HTTP/1.1\r\n" + host + "\r\n", 414},
      {"unknown expectation", "POST / HTTP/1.1\r\n" + host + "Expect: tea\r\n\r\n", 417},
      {"not complete", "GET / HTTP/1.1\r\nHost: a\r\n", -1},
  }));
  CAPTURE(c.name);
  Head head;
  CHECK(StatusOf(c.text, &head) == c.status);
}

TEST_CASE("A head is taken apart", "[http]") {
  Head head;
  REQUIRE(StatusOf("POST /v1/batch?writeKey=a%20b HTTP/1.1\r\nHost: x:80\r\nX-Some:  v  \r\n"
                   "Content-Length: 12\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n",
                   &head) == 0);
  CHECK(head.request.method == "POST");
  CHECK(head.request.path == "/v1/batch");
  CHECK(head.request.query == "writeKey=a%20b");
  CHECK(head.request.Header("x-some") == "v");
  CHECK(head.content_length == 12);
  CHECK_FALSE(head.keep_alive);
  CHECK(head.expect_continue);
}

TEST_CASE("Chunked bodies, whole and byte by byte", "[http]") {
  using State = ChunkDecoder::State;
  struct Case {
    const char* name;
    std::string text;
    State state;
    std::string body;
  };
  const auto c = GENERATE(values<Case>({
      {"two chunks", "3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", State::kDone, "abc0123456789"},
      {"trailer", "1\r\na\r\n0\r\nX: y\r\n\r\n", State::kDone, "a"},
      {"empty", "0\r\n\r\n", State::kDone, ""},
      {"not complete", "5\r\nab", State::kMore, "ab"},
      {"bare LF", "3\nabc\r\n", State::kBad, ""},
      {"no digits", "\r\n", State::kBad, ""},
      {"not hex", "g\r\n", State::kBad, ""},
      {"0x", "0x3\r\nabc\r\n", State::kBad, ""},
      {"negative", "-1\r\n", State::kBad, ""},
      {"space before the extension", "3 \r\nabc\r\n", State::kBad, ""},
      {"no line end after data", "3\r\nabcd\r\n", State::kBad, "abc"},
      {"overflow", "10000000000000003\r\nabc\r\n", State::kBad, ""},
      {"bad trailer", "0\r\n X: y\r\n\r\n", State::kBad, ""},
      {"too large", "15\r\n", State::kTooLarge, ""},
      {"too large in sum", "14\r\n01234567890123456789\r\n1\r\n", State::kTooLarge,
       "01234567890123456789"},
  }));
  CAPTURE(c.name);
  for (const size_t step : {size_t{1}, size_t{1000}}) {
    ChunkDecoder decoder;
    std::string body, rest;
    State state = State::kMore;
    for (size_t at = 0; at < c.text.size() && state == State::kMore; at += step) {
      rest += c.text.substr(at, step);
      size_t used = 0;
      state = decoder.Decode(rest, 20, &body, &used);
      rest.erase(0, used);
    }
    CHECK(state == c.state);
    CHECK(body == c.body);
  }
}

TEST_CASE("Heads at random mean the same however they are cut", "[http][fuzz]") {
  using namespace std::string_literals;
  const std::string seed =
      "POST /v1/batch?a=b%20c HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: "
      "12\r\nAuthorization: Basic YTo=\r\n"
      "Connection: keep-alive, close\r\nExpect: 100-continue\r\nX-Empty:\r\n\r\n";
  const std::vector<std::string> pieces = {"\r\n",
                                           "\n",
                                           "\r",
                                           " ",
                                           "\t",
                                           ":",
                                           "\0"s,
                                           "\x0b",
                                           "Transfer-Encoding: chunked\r\n",
                                           "Content-Length: 3\r\n",
                                           "Host: b\r\n",
                                           ",",
                                           "%",
                                           "HTTP/1.0",
                                           "\xff",
                                           "0x",
                                           "+"};
  std::mt19937 random(20261125);
  int taken = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = seed;
    for (uint32_t mutations = random() % 4; mutations > 0; --mutations) {
      const size_t at = random() % (text.size() + 1);
      switch (random() % 3) {
        case 0:
          text.insert(at, pieces[random() % pieces.size()]);
          break;
        case 1:
          text.erase(at, 1 + random() % 6);
          break;
        default:
          if (at < text.size()) text[at] = static_cast<char>(random());
      }
    }
    CAPTURE(round, text);
    HeadFinder whole, cut;
    const auto state = whole.Scan(text);
    auto cut_state = HeadFinder::State::kMore;
    for (size_t end = 0; cut_state == HeadFinder::State::kMore && end < text.size();) {
      end = std::min(text.size(), end + 1 + random() % 30);
      cut_state = cut.Scan(std::string_view(text).substr(0, end));
    }
    if (cut_state != state) FAIL("the finder depends on how the bytes come");
    if (state != HeadFinder::State::kDone) continue;
    if (cut.size() != whole.size()) FAIL("the head ends elsewhere");
    Head head;
    if (ParseHead(std::string_view(text).substr(0, whole.size()), 8192, &head)) continue;
    ++taken;
    // What is taken can be read in one way only.
    int lengths = 0, encodings = 0, hosts = 0;
    for (const auto& [name, value] : head.request.headers) {
      lengths += name == "content-length";
      encodings += name == "transfer-encoding";
      hosts += name == "host";
      if (value.find_first_of("\r\n\0"s) != std::string::npos)
        FAIL("a control character in a value");
      if (name.find_first_of(" \t:\r\n\0"s) != std::string::npos) FAIL("a separator in a name");
    }
    if (lengths + encodings > 1 || hosts > 1 || (hosts == 0 && !head.http_1_0))
      FAIL("two ways to read it");
    if (head.chunked != (encodings == 1)) FAIL("a coding that is not known");
    if (head.request.path.find_first_of(" \r\n\0"s) != std::string::npos) FAIL("the target");
  }
  CHECK(taken > 1000);
}

TEST_CASE("Chunked bodies at random mean the same however they are cut", "[http][fuzz]") {
  const std::string seed =
      "5\r\nhello\r\nA;x=\"y\"\r\n0123456789\r\n00\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\n";
  std::mt19937 random(20261125);
  for (int round = 0; round < 20'000; ++round) {
    std::string text = seed;
    for (uint32_t mutations = random() % 3; mutations > 0; --mutations) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text.insert(at, 1, "\r\n0aF;: \xff"[random() % 9]);
          break;
        case 1:
          text.erase(at, 1 + random() % 4);
          break;
        default:
          text[at] = static_cast<char>(random());
      }
    }
    const auto decode = [&](size_t step) {
      ChunkDecoder decoder;
      std::string body, rest;
      auto state = ChunkDecoder::State::kMore;
      size_t taken = 0;
      for (size_t at = 0; at < text.size() && state == ChunkDecoder::State::kMore; at += step) {
        rest += text.substr(at, step);
        size_t used = 0;
        state = decoder.Decode(rest, 64, &body, &used);
        rest.erase(0, used);
        taken += used;
      }
      return std::tuple(state, body, state == ChunkDecoder::State::kDone ? taken : 0);
    };
    CAPTURE(round, text);
    const auto whole = decode(text.size());
    if (std::get<1>(whole).size() > 64) FAIL("larger than allowed");
    if (decode(1) != whole || decode(1 + random() % 20) != whole)
      FAIL("it depends on how the bytes come");
  }
}
