#include "libs/transformation/fetch_request.h"

#include <catch2/catch.hpp>

#include "libs/transformation/fetch_cache.h"
#include "libs/transformation/fetch_queue.h"

namespace millrace::transformation {
namespace {

constexpr size_t kMaxBody = 64;

std::string FaultOf(std::string_view arguments) {
  FetchRequest request;
  const auto fault = ParseFetch(arguments, kMaxBody, &request);
  if (!fault) return "";
  CHECK(fault->failed);
  return fault->error_name + ": " + fault->text;
}

TEST_CASE("ParseFetch says what is wrong with a fetch", "[fetch]") {
  struct Case {
    std::string arguments;
    std::string fault;
  };
  const std::string protocol = "Error: invalid protocol, only http and https are supported";
  const auto c = GENERATE_COPY(values<Case>({
      {"[]", "Error: fetch url is required"},
      {"", "Error: fetch url is required"},
      {"[null]", "Error: fetch url is required"},
      {"[\"\"]", "Error: fetch url is required"},
      {R"(["tcp://a.example/x"])", protocol},
      {R"(["file:///etc/passwd"])", protocol},
      {R"(["gopher://a.example/"])", protocol},
      {R"(["FTP://a.example/"])", protocol},
      {R"(["/relative"])", protocol},
      {R"([{"a":1}])", protocol},
      {R"([17])", protocol},
      {R"(["http://"])", "TypeError: Invalid URL: http://"},
      {R"(["http://a.example/\r\nX: y"])", "TypeError: Invalid URL: http://a.example/\r\nX: y"},
      {"[\"http://a.example/" + std::string(17'000, 'x') + "\"]",
       "Error: fetch: the URL is longer than 16384 bytes"},
      {R"(["http://a.example",{"method":"CONNECT"}])",
       "TypeError: fetch: method \"CONNECT\" is not allowed"},
      {R"(["http://a.example",{"method":"GET / HTTP/1.1\r\nX:"}])",
       "TypeError: fetch: method \"GET / HTTP/1.1\r\nX:\" is not allowed"},
      {R"(["http://a.example",{"headers":{"a\r\nb":"c"}}])",
       "TypeError: fetch: \"a\r\nb\" is no header that can be sent"},
      {R"(["http://a.example",{"headers":{"host: b":"c"}}])",
       "TypeError: fetch: \"host: b\" is no header that can be sent"},
      {R"(["http://a.example",{"headers":{"a":"b\r\nc: d"}}])",
       "TypeError: fetch: \"a\" is no header that can be sent"},
      {"[\"http://a.example\",{\"headers\":{\"a\":\"" + std::string(40'000, 'x') + "\"}}]",
       "Error: fetch: headers are larger than 32768 bytes"},
      {R"(["http://a.example",{"body":"x"}])",
       "TypeError: Request with GET/HEAD method cannot have body"},
      {"[\"http://a.example\",{\"method\":\"POST\",\"body\":\"" + std::string(65, 'x') + "\"}]",
       "Error: fetch: the body is larger than 64 bytes"},
  }));
  CAPTURE(c.arguments.substr(0, 100));
  CHECK(FaultOf(c.arguments) == c.fault);
}

TEST_CASE("ParseFetch reads what a script gives", "[fetch]") {
  FetchRequest request;
  REQUIRE_FALSE(ParseFetch(
      R"([" https://a.example/p?q#f",{"method":"post","headers":{"X-A":"1","x-a":"2","N":5,"L":["a","b"],"Host":"h",)"
      R"("Content-Length":"0","Connection":"close"},"body":{"a":[1.50,"\ud83d\ude00"]},"timeout":250.5,"cacheSeconds":9,)"
      R"("redirect":"follow","agent":null}])",
      kMaxBody, &request));
  CHECK(request.method == "POST");
  CHECK(request.url.text == "https://a.example/p?q#f");
  CHECK(
      request.headers ==
      http::Headers{{"x-a", "2"}, {"n", "5"}, {"l", "a, b"}, {"content-type", "application/json"}});
  CHECK(request.body == R"({"a":[1.50,"\ud83d\ude00"]})");
  CHECK(request.timeout == std::chrono::milliseconds(250));
  CHECK(request.cache.count() == 0);  // no GET
  CHECK(request.redirect == FetchRequest::Redirect::kFollow);

  FetchRequest plain;
  REQUIRE_FALSE(ParseFetch(
      R"(["http://a.example",{"method":"PUT","headers":[["A","b"],["c"]],"body":"x\ny"}])",
      kMaxBody, &plain));
  CHECK(plain.body == "x\ny");
  CHECK(plain.headers == http::Headers{{"a", "b"}, {"content-type", "text/plain;charset=UTF-8"}});

  FetchRequest cached;
  REQUIRE_FALSE(ParseFetch(R"(["http://a.example",{"cacheSeconds":1e12,"timeout":-1,"headers":7}])",
                           kMaxBody, &cached));
  CHECK(cached.cache == std::chrono::hours(24));
  CHECK(cached.timeout.count() == 0);
}

TEST_CASE("ParseFetch takes whatever bytes come", "[fetch]") {
  const std::string whole =
      R"(["http://a.example/x",{"method":"POST","headers":{"a":["b",1]},"body":{"c":[{}]},"timeout":1}])";
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    FetchRequest request;
    ParseFetch(whole.substr(0, cut), kMaxBody, &request);
    ParseFetch(whole.substr(cut), kMaxBody, &request);
    std::string mutated = whole;
    mutated[cut] = static_cast<char>(cut * 37);
    ParseFetch(mutated, kMaxBody, &request);
  }
  SUCCEED();
}

TEST_CASE("FollowRedirect leaves keys behind", "[fetch]") {
  struct Case {
    int status;
    std::string method;
    std::string location;
    bool follows;
    std::string url;
    std::string then;
    bool keeps_key;
  };
  const auto c = GENERATE(values<Case>({
      {200, "GET", "/x", false, "", "", true},
      {302, "GET", "/x", true, "http://u:p@a.example/x", "GET", true},
      {302, "POST", "http://a.example/y", true, "http://a.example/y", "GET", true},
      {301, "PUT", "/x", true, "http://u:p@a.example/x", "PUT", true},
      {303, "PUT", "/x", true, "http://u:p@a.example/x", "GET", true},
      {307, "POST", "//b.example/", true, "http://b.example/", "POST", false},
      {308, "POST", "https://a.example/", true, "https://a.example/", "POST", false},
      {302, "GET", "http://a.example:81/", true, "http://a.example:81/", "GET", false},
      {302, "GET", "http://2852039166/latest", true, "http://169.254.169.254/latest", "GET", false},
      {302, "GET", "", false, "", "", true},
  }));
  CAPTURE(c.status, c.method, c.location);
  FetchRequest request;
  REQUIRE(http::ParseUrl("http://u:p@a.example/start", &request.url));
  request.method = c.method;
  request.body = "b";
  request.headers = {
      {"authorization", "k"}, {"x-api-key", "k"}, {"cookie", "k"}, {"accept", "*/*"}};
  http::ClientResponse response;
  response.status = c.status;
  if (!c.location.empty()) response.headers = {{"location", c.location}};
  REQUIRE(FollowRedirect(response, &request) == c.follows);
  if (!c.follows) return;
  CHECK(request.url.text == c.url);
  CHECK(request.method == c.then);
  CHECK(request.body == (c.then == "GET" && c.method != "GET" ? "" : "b"));
  CHECK(request.headers.size() == (c.keeps_key ? 4 : 1));
}

TEST_CASE("FetchAnswer is JSON whatever the server sent", "[fetch]") {
  FetchRequest request;
  REQUIRE(http::ParseUrl("http://a.example/", &request.url));
  http::ClientResponse response;
  response.status = 404;
  response.headers = {{"x-b", "1"}, {"a", "\xff\"q"}, {"x-b", "2"}};
  response.body = "caf\xe9\n\x01";
  CHECK(FetchAnswer(request, response) ==
        "{\"url\":\"http://a.example/"
        "\",\"status\":404,\"headers\":{\"a\":\"\xef\xbf\xbd\\\"q\",\"x-b\":\"1, 2\"},"
        "\"body\":\"caf\xef\xbf\xbd\\n\\u0001\"}");
}

TEST_CASE("FetchQueue lets hosts and scopes take turns", "[fetch]") {
  FetchQueue queue(2);
  for (uint64_t id = 1; id <= 5; ++id) queue.Push("busy", "greedy", id);
  queue.Push("busy", "modest", 6);
  queue.Push("other", "greedy", 7);
  std::vector<uint64_t> order;
  const auto pop_all = [&] {
    while (auto next = queue.Pop()) order.push_back(next->first);
  };
  pop_all();
  CHECK(order == std::vector<uint64_t>{1, 7, 6});  // of "busy" two: one of each scope
  order.clear();
  queue.Finished("other");
  pop_all();
  CHECK(order.empty());
  queue.Finished("busy");
  pop_all();
  CHECK(order == std::vector<uint64_t>{2});
  order.clear();
  for (int i = 0; i < 4; ++i) {
    queue.Finished("busy");
    pop_all();
  }
  CHECK(order == std::vector<uint64_t>{3, 4, 5});
  queue.Finished("busy");
  queue.Push("busy", "modest", 8);
  pop_all();
  CHECK(order.back() == 8);
}

TEST_CASE("FetchCache keeps what is young, used and fits", "[fetch]") {
  FetchCache cache(10'000);
  const MonotonicTime start{};
  const auto value = [](size_t bytes) { return std::make_shared<const std::string>(bytes, 'x'); };
  cache.Put("a", value(4'000), start + std::chrono::seconds(10));
  cache.Put("b", value(4'000), start + std::chrono::seconds(10));
  CHECK(cache.Get("a", start) != nullptr);
  cache.Put("c", value(4'000), start + std::chrono::seconds(10));
  CHECK(cache.Get("b", start) == nullptr);  // the least used
  CHECK(cache.Get("a", start + std::chrono::seconds(9)) != nullptr);
  CHECK(cache.Get("a", start + std::chrono::seconds(10)) == nullptr);
  cache.Put("c", value(100), start + std::chrono::seconds(10));
  CHECK(cache.Get("c", start)->size() == 100);
  cache.Put("d", value(20'000), start + std::chrono::seconds(10));
  CHECK(cache.Get("d", start) == nullptr);
  CHECK(cache.Get("c", start) != nullptr);
  CHECK(cache.bytes() < 1'000);
}

}  // namespace
}  // namespace millrace::transformation
