#include "libs/http/server.h"

#include <catch2/catch.hpp>

#include <mutex>
#include <thread>

#include "libs/http/server_testing.h"

using namespace millrace;
using namespace millrace::http;
using namespace millrace::http::test;
using std::chrono::milliseconds;

TEST_CASE("Requests of one connection are answered in their order", "[http]") {
  std::mutex mu;
  std::vector<std::pair<std::string, Responder>> waiting;
  const auto handler = [&](Request request, Responder responder) {
    const std::scoped_lock lock(mu);
    waiting.emplace_back(request.path, std::move(responder));
    if (waiting.size() < 3) return;
    // Answered from another thread, the last one first.
    std::thread([&] {
      for (auto at = waiting.rbegin(); at != waiting.rend(); ++at)
        at->second.Send({200, {}, at->first + "\n"});
    }).join();
    waiting.clear();
  };
  const auto server = StartServer(handler, {.pipelined = [](const Request&) { return true; }});
  Client client(server->port());
  client.Send(
      "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 "
      "HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string text = client.ReadUntil("/3\n");
  CHECK(text.find("/1\n") < text.find("/2\n"));
  CHECK(text.find("/2\n") < text.find("/3\n"));
}

TEST_CASE("Many pipelined requests, in pieces", "[http]") {
  const bool pipelined = GENERATE(true, false);
  const auto server =
      StartServer(Echo, {.threads = 2, .pipelined = [=](const Request&) { return pipelined; }});
  Client client(server->port());
  std::string all;
  for (int i = 0; i < 500; ++i) {
    all += "POST /" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
  }
  std::thread sender([&] {
    for (size_t at = 0; at < all.size(); at += 777)
      client.Send(std::string_view(all).substr(at, 777));
  });
  const std::string text = client.ReadUntil("[abc]\n", 500);
  sender.join();
  CHECK(Client::Count(text, "HTTP/1.1 200 OK") == 500);
  size_t at = 0;
  for (int i = 0; i < 500; ++i) {
    at = text.find("POST /" + std::to_string(i) + " [abc]", at);
    REQUIRE(at != std::string::npos);
  }
}

TEST_CASE("Bodies: chunked, large, empty, and expected", "[http]") {
  const auto server = StartServer(Echo);
  Client client(server->port());
  client.Send("POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n");
  client.Send("1\r\nc\r\n0\r\n\r\n");
  CHECK_THAT(client.ReadUntil("]\n"), Catch::Contains("POST /c [abc]"));
  const std::string big(3'000'000, 'x');
  client.Send("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + big);
  CHECK_THAT(client.ReadUntil("]\n"), Catch::Contains("[" + big + "]"));
  client.Send("POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  CHECK_THAT(client.ReadUntil("\r\n\r\n"), Catch::StartsWith("HTTP/1.1 100 Continue\r\n\r\n"));
  client.Send("hi");
  CHECK_THAT(client.ReadUntil("]\n"), Catch::Contains("POST /e [hi]"));
  client.Send("HEAD /h HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  const std::string head = client.ReadAll();
  CHECK_THAT(head, Catch::Contains("Content-Length: 11") && Catch::EndsWith("\r\n\r\n"));
}

TEST_CASE("Refused requests get their answer and the connection ends", "[http]") {
  struct Case {
    const char* name;
    std::string text;
    std::string status;
  };
  const auto c = GENERATE(values<Case>({
      {"CL and TE",
       "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: "
       "chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
       "400"},
      {"bare LF", "GET / HTTP/1.1\nHost: a\n\n", "400"},
      {"bad chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
       "400"},
      {"long head", "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(40'000, 'x') + "\r\n\r\n",
       "431"},
      {"long target", "GET /" + std::string(20'000, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n", "414"},
      {"large body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\nabc", "413"},
      {"large chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
       "413"},
      {"unknown method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", "501"},
  }));
  CAPTURE(c.name);
  const auto server = StartServer(Echo);
  Client client(server->port());
  client.Send(c.text);
  const std::string text = client.ReadUntil("\r\n\r\n");
  client.FinishSending();
  const std::string rest = client.ReadAll();
  CHECK_THAT(text,
             Catch::StartsWith("HTTP/1.1 " + c.status) && Catch::Contains("Connection: close"));
  CHECK(Client::Count(text + rest, "HTTP/1.1 ") == 1);
}

TEST_CASE("Slow clients are cut off", "[http]") {
  ServerOptions options;
  options.header_timeout = options.body_timeout = options.idle_timeout = milliseconds(60);
  const auto server = StartServer(Echo, options);
  Client slow_head(server->port()), slow_body(server->port()), idle(server->port());
  slow_head.Send("GET / HTTP/1.1\r\nHo");
  slow_body.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
  CHECK_THAT(slow_head.ReadUntil("\r\n\r\n"), Catch::StartsWith("HTTP/1.1 408"));
  CHECK_THAT(slow_body.ReadUntil("\r\n\r\n"), Catch::StartsWith("HTTP/1.1 408"));
  CHECK(idle.ReadAll().empty());
}

TEST_CASE("Bodies beyond the budget get a 503, and the budget comes back", "[http]") {
  ServerOptions options;
  options.max_buffered_bytes = 1000;
  const auto server = StartServer(Echo, options);
  for (int i = 0; i < 20; ++i) {
    Client client(server->port());
    client.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n" +
                std::string(900, 'x'));
    CHECK_THAT(client.ReadUntil("]\n"), Catch::StartsWith("HTTP/1.1 200"));
  }
  Client client(server->port());
  client.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1100\r\n\r\n" +
              std::string(1100, 'x'));
  CHECK_THAT(client.ReadUntil("\r\n\r\n"),
             Catch::StartsWith("HTTP/1.1 503") && Catch::Contains("Retry-After: "));
}

TEST_CASE("A request nobody answers gets a 500", "[http]") {
  const auto server = StartServer([](const Request&, const Responder&) {});
  Client client(server->port());
  client.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK_THAT(client.ReadUntil("\r\n\r\n"), Catch::StartsWith("HTTP/1.1 500"));
}

TEST_CASE("Streams are chunked and end", "[http]") {
  std::thread writer;
  const auto server = StartServer([&writer](const Request&, const Responder& responder) {
    auto stream = responder.Stream({200, {{"Content-Type", "text/event-stream"}}, ""});
    writer = std::thread([stream] {
      for (int i = 0; i < 3; ++i) CHECK(stream->Write("part" + std::to_string(i)));
      stream->Close();
      CHECK_FALSE(stream->Write("late"));
    });
  });
  Client client(server->port());
  client.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string text = client.ReadUntil("0\r\n\r\n");
  writer.join();
  CHECK_THAT(text, Catch::Contains("Transfer-Encoding: chunked") &&
                       Catch::EndsWith("5\r\npart0\r\n5\r\npart1\r\n5\r\npart2\r\n0\r\n\r\n"));
}

TEST_CASE("Stop lets a running request end; late answers are dropped", "[http]") {
  std::mutex mu;
  std::vector<Responder> waiting;
  auto server = StartServer([&](const Request&, Responder responder) {
    const std::scoped_lock lock(mu);
    waiting.push_back(std::move(responder));
  });
  Client client(server->port()), idle(server->port());
  client.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto arrived = [&] {
    const std::scoped_lock lock(mu);
    return !waiting.empty();
  };
  while (!arrived()) std::this_thread::yield();
  std::thread stopper([&] { server->Stop(std::chrono::seconds(20)); });
  CHECK(idle.ReadAll().empty());
  const Responder responder = waiting.front();
  responder.Send({200, {}, "done\n"});
  CHECK_THAT(client.ReadAll(), Catch::EndsWith("Connection: close\r\n\r\ndone\n"));
  stopper.join();
  responder.Send({200, {}, "late\n"});
  server.reset();
  responder.Send({200, {}, "later\n"});
}
