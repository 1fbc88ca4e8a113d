#include "libs/warehouses/postgres/pinned_hosts.h"

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "libs/warehouses/postgres/connection.h"

namespace millrace::warehouses::postgres {
namespace {

http::OutboundGuard GuardOf(const std::vector<std::string>& allowed) {
  auto guard = http::OutboundGuard::Create(allowed);
  REQUIRE(guard.ok());
  return *guard;
}

/// Counts who connects to a port of 127.0.0.1, and hangs up at once.
class Listener {
 public:
  Listener() {
    socket_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(socket_, 64) == 0);
    socklen_t length = sizeof address;
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      for (int peer = 0; (peer = accept(socket_, nullptr, nullptr)) >= 0; close(peer)) ++count_;
    });
  }
  ~Listener() { Stop(); }
  std::string port() const { return std::to_string(port_); }
  /// Connections, all that were begun.
  int Stop() {
    if (thread_.joinable()) {
      shutdown(socket_, SHUT_RDWR);
      thread_.join();
      close(socket_);
    }
    return count_;
  }

 private:
  int socket_ = -1;
  uint16_t port_ = 0;
  int count_ = 0;
  std::thread thread_;
};

Status Open(const std::string& host, const std::string& port,
            const std::vector<std::string>& allowed) {
  return Connection::Open(
             {.host = host, .port = port, .database = "d", .user = "u", .ssl_mode = "disable"},
             GuardOf(allowed))
      .status();
}

TEST_CASE("no spelling of a warehouse's host leads to an address that is not allowed",
          "[postgres][guard]") {
  Listener listener;
  for (const std::string host :
       {"127.0.0.1", "localhost", "LOCALHOST", "localhost.", "127.1", "2130706433", "0x7f000001",
        "0x7f.1", "0177.0.0.1", "0", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "169.254.169.254",
        "2852039166", "10.1.2.3", "172.16.0.1", "192.168.1.1", "fd00::1", "fec0::1",
        "64:ff9b::7f00:1", "2002:7f00:1::1",
        // several
        "127.0.0.1,127.0.0.1", "10.1.2.3,127.0.0.1", "127.0.0.1,", ",127.0.0.1", ",", "",
        // Unix sockets
        "/var/run/postgresql", "/tmp", "@abstract", "/tmp,127.0.0.1",
        // what is no host
        "127.0.0.1 port=1", "host=127.0.0.1", "hostaddr=127.0.0.1", "postgresql://127.0.0.1/d",
        "127.0.0.1/d", "[127.0.0.1]", "127.0.0.1' hostaddr='127.0.0.1", "u@127.0.0.1"}) {
    CAPTURE(host);
    CHECK_FALSE(Open(host, listener.port(), {}).ok());
  }
  for (const char* tricky : {"127.0.0.1", "localhost", "/tmp", "10.1.2.3"}) {
    const Status status = Open(tricky, listener.port(), {});
    CHECK(status.code() == StatusCode::kFailedPrecondition);
    CHECK(Message(status).find("outbound.allowed_networks") != std::string::npos);
  }
  CHECK(listener.Stop() == 0);
}

TEST_CASE("what the environment says of hosts does not count", "[postgres][guard]") {
  Listener listener;
  setenv("PGHOSTADDR", "127.0.0.1", 1);
  setenv("PGHOST", "127.0.0.1", 1);
  CHECK_FALSE(Open("", listener.port(), {"127.0.0.0/8"}).ok());
  CHECK_FALSE(Open("10.1.2.3", listener.port(), {}).ok());
  unsetenv("PGHOSTADDR");
  unsetenv("PGHOST");
  CHECK(listener.Stop() == 0);
}

TEST_CASE("an allowed address is connected to, whatever the name's spelling", "[postgres][guard]") {
  const auto host = GENERATE(values<std::string>({"127.0.0.1", "localhost", "127.1"}));
  CAPTURE(host);
  Listener listener;
  const Status status = Open(host, listener.port(), {"127.0.0.0/8"});
  CHECK(status.code() == StatusCode::kUnavailable);  // it is no PostgreSQL
  CHECK(listener.Stop() >= 1);
}

TEST_CASE("hosts keep their names and get their addresses and ports", "[postgres][guard]") {
  const auto guard = GuardOf({"127.0.0.0/8", "unix:/run/postgresql"});
  SECTION("one") {
    const auto pinned = PinHosts("localhost", "5432", guard);
    REQUIRE(pinned.ok());
    CHECK(pinned->hosts == "localhost");
    CHECK(pinned->addresses == "127.0.0.1");
    CHECK(pinned->ports == "5432");
  }
  SECTION("several, with a port each and a socket among them") {
    const auto pinned = PinHosts("127.0.0.2,/run/postgresql,127.3", "1,2,3", guard);
    REQUIRE(pinned.ok());
    CHECK(pinned->hosts == "127.0.0.2,/run/postgresql,127.3");
    CHECK(pinned->addresses == "127.0.0.2,,127.0.0.3");
    CHECK(pinned->ports == "1,2,3");
  }
  SECTION("one of several is refused: all are") {
    CHECK(PinHosts("127.0.0.1,10.0.0.1", "1", guard).status().code() ==
          StatusCode::kFailedPrecondition);
  }
  SECTION("ports that are none, or too many") {
    for (const char* port : {"", "x", "1,2", "123456", "5432 host=10.0.0.1"}) {
      CAPTURE(port);
      CHECK(PinHosts("localhost", port, guard).status().code() == StatusCode::kInvalidArgument);
    }
  }
}

}  // namespace
}  // namespace millrace::warehouses::postgres
