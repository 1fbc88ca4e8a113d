#include "libs/http/server.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <future>
#include <thread>

namespace millrace::http {
namespace {

/// Sends raw bytes and reads until the server closes or the text ends with `until`.
class RawClient {
 public:
  explicit RawClient(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  ~RawClient() { close(fd_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void Send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t sent = send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<size_t>(sent));
    }
  }
  std::string ReadUntil(std::string_view until) const {
    std::string all;
    char buffer[4096];
    while (until.empty() || all.size() < until.size() ||
           all.compare(all.size() - until.size(), until.size(), until) != 0) {
      const ssize_t got = recv(fd_, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      all.append(buffer, static_cast<size_t>(got));
    }
    return all;
  }

 private:
  int fd_;
};

std::unique_ptr<Server> Echo(ServerOptions options = {}) {
  auto server = Server::Start(options, [](Request request, Responder responder) {
    responder.Send({.body = fmt::format("{} {} {} [{}]", request.method, request.path, request.query,
                                        request.body.view())});
  });
  REQUIRE(server.ok());
  return *std::move(server);
}

int StatusOf(const std::string& answer) {
  return answer.size() > 12 ? std::atoi(answer.c_str() + 9) : 0;
}

}  // namespace

TEST_CASE("requests with a length, chunked, and pipelined", "[server]") {
  const auto server = Echo();
  RawClient client(server->port());
  client.Send(
      "POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
      "POST /d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
      "GET /last HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string all = client.ReadUntil("GET /last  []");
  CHECK(all.find("POST /a b=c [abc]") != std::string::npos);
  CHECK(all.find("POST /d  [hello]") != std::string::npos);
  CHECK(all.find("/a") < all.find("/d"));
}

TEST_CASE("limits and broken requests are refused and the connection closed", "[server]") {
  struct Case { const char* name; std::string request; int status; };
  const auto c = GENERATE(values<Case>({
      {"too long a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n", 413},
      {"too long in chunks",
       "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + std::string(2000, 'a'),
       413},
      {"too long a target", "GET /" + std::string(600, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n", 414},
      {"too long a head", "GET / HTTP/1.1\r\nHost: x\r\nA: " + std::string(3000, 'a'), 431},
      {"length and coding",
       "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       400},
      {"bad chunk size", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", 400},
      {"no HTTP", "hello\r\n\r\n", 400},
  }));
  CAPTURE(c.name);
  const auto server = Echo({.max_header_bytes = 2000, .max_target_bytes = 500, .max_body_bytes = 1000});
  RawClient client(server->port());
  client.Send(c.request);
  const std::string answer = client.ReadUntil("");
  CHECK(StatusOf(answer) == c.status);
  CHECK(answer.find("Connection: close") != std::string::npos);
}

TEST_CASE("slow requests are ended by the server", "[server]") {
  const auto server = Echo({.header_timeout = std::chrono::milliseconds(200),
                            .body_timeout = std::chrono::milliseconds(200)});
  RawClient head(server->port());
  head.Send("GET / HT");
  CHECK(StatusOf(head.ReadUntil("")) == 408);
  RawClient body(server->port());
  body.Send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
  CHECK(StatusOf(body.ReadUntil("")) == 408);
}

TEST_CASE("answers from another thread, unanswered requests, streams", "[server]") {
  std::vector<std::thread> threads;
  auto server = Server::Start({}, [&](Request request, Responder responder) {
    if (request.path == "/never") return;
    if (request.path == "/stream") {
      const auto writer = responder.Stream({});
      writer->Write("one ");
      writer->Write("two");
      return;
    }
    threads.emplace_back([responder] { responder.Send({.status = 201, .body = "later"}); });
  });
  REQUIRE(server.ok());
  RawClient client((*server)->port());
  client.Send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(StatusOf(client.ReadUntil("later")) == 201);
  client.Send("GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(StatusOf(client.ReadUntil("answered\n")) == 500);
  client.Send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(client.ReadUntil("0\r\n\r\n").find("4\r\none \r\n3\r\ntwo\r\n0") != std::string::npos);
  for (auto& thread : threads) thread.join();
  (*server)->Stop(std::chrono::milliseconds(1000));
}

TEST_CASE("the server names a port in use", "[server]") {
  const auto server = Echo();
  const auto second = Server::Start({.port = server->port()}, [](Request, Responder) {});
  REQUIRE_FALSE(second.ok());
  CHECK(Message(second.status()).find(std::to_string(server->port())) != std::string_view::npos);
}

}  // namespace millrace::http
