#pragma once

/// What the server's tests share.
#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "libs/http/server.h"

namespace millrace::http::test {

// A plain blocking socket to the server.
class Client {
 public:
  explicit Client(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    REQUIRE(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { close(fd_); }

  void Send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<size_t>(sent));
    }
  }
  int descriptor() const { return fd_; }
  void FinishSending() { shutdown(fd_, SHUT_WR); }
  // Reads until the text holds `mark` `times` times.
  std::string ReadUntil(std::string_view mark, int times = 1) {
    std::string text;
    while (Count(text, mark) < times && ReadSome(text)) {
    }
    return text;
  }
  std::string ReadAll() {
    std::string text;
    while (ReadSome(text)) {
    }
    return text;
  }
  static int Count(std::string_view text, std::string_view mark) {
    int count = 0;
    for (size_t at = text.find(mark); at != std::string_view::npos; at = text.find(mark, at + 1))
      ++count;
    return count;
  }

 private:
  bool ReadSome(std::string& text) {
    char buffer[65536];
    const ssize_t got = recv(fd_, buffer, sizeof buffer, 0);
    if (got <= 0) return false;
    text.append(buffer, static_cast<size_t>(got));
    return true;
  }
  int fd_;
};

inline std::unique_ptr<Server> StartServer(Handler handler, const ServerOptions& options = {}) {
  auto server = Server::Start(options, std::move(handler));
  REQUIRE(server.ok());
  return *std::move(server);
}

inline void Echo(Request request, Responder responder) {
  responder.Send(
      {200,
       {{"Content-Type", "text/plain"}},
       request.method + " " + request.path + " [" + std::string(request.body.view()) + "]\n"});
}

}  // namespace millrace::http::test
