#include "libs/http/request_head.h"

#include <catch2/catch.hpp>
#include <string>

namespace millrace::http {

TEST_CASE("FaultOfHead refuses what servers may read differently", "[http]") {
  struct Case { const char* name; std::string head; bool sound; };
  const auto c = GENERATE(values<Case>({
      {"plain", "POST /v1/track?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", true},
      {"chunked", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n", true},
      {"1.0 without host", "GET / HTTP/1.0\r\n\r\n", true},
      {"high bytes in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: \xc3\xa9\r\n\r\n", true},
      {"no host", "GET / HTTP/1.1\r\n\r\n", false},
      {"two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", false},
      {"length and coding",
       "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", false},
      {"two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
       false},
      {"length list", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n", false},
      {"signed length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n", false},
      {"empty length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", false},
      {"coding with comma", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: ,chunked\r\n\r\n", false},
      {"other coding", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", false},
      {"coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", false},
      {"bare LF", "GET / HTTP/1.1\nHost: x\r\n\r\n", false},
      {"bare CR", "GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n", false},
      {"NUL", std::string("GET / HTTP/1.1\r\nHost: x\0y\r\n\r\n", 31), false},
      {"folded", "GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", false},
      {"space before colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n", false},
      {"no colon", "GET / HTTP/1.1\r\nHost: x\r\nabc\r\n\r\n", false},
      {"space in target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", false},
      {"wrong version", "GET / HTTP/1.2\r\nHost: x\r\n\r\n", false},
      {"method with a colon", "GE:T / HTTP/1.1\r\nHost: x\r\n\r\n", false},
  }));
  CAPTURE(c.name, FaultOfHead(c.head));
  CHECK(FaultOfHead(c.head).empty() == c.sound);
}

}  // namespace millrace::http
