#include "libs/http/client.h"

#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "libs/http/fake_name_server.h"

namespace millrace::http {
namespace {

/// A server on a plain socket: reads one request (head and Content-Length body) at a time, keeps
/// it, and answers with the given bytes. "" closes without an answer.
class SocketServer {
 public:
  explicit SocketServer(std::string answer, bool endless = false)
      : answer_(std::move(answer)), endless_(endless) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(listener_, 64) == 0);
    socklen_t length = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Accept(); });
  }
  ~SocketServer() {
    stopping_ = true;
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    for (const int peer : peers_) shutdown(peer, SHUT_RDWR);
    for (auto& thread : threads_) thread.join();
    for (const int peer : peers_) close(peer);
    close(listener_);
  }
  std::string Url(const std::string& path = "/") const { return UrlOf("127.0.0.1", path); }
  std::string UrlOf(const std::string& host, const std::string& path = "/") const {
    return "http://" + host + ":" + std::to_string(port_) + path;
  }
  int connections() const { return connections_; }
  std::vector<std::string> requests() {
    const std::lock_guard lock(mu_);
    return requests_;
  }

 private:
  void Accept() {
    while (!stopping_) {
      const int peer = accept(listener_, nullptr, nullptr);
      if (peer < 0) return;
      ++connections_;
      peers_.push_back(peer);
      threads_.emplace_back([this, peer] { Serve(peer); });
    }
  }
  void Serve(int peer) {
    std::string buffer;
    char chunk[4096];
    while (true) {
      const size_t end = buffer.find("\r\n\r\n");
      size_t need = std::string::npos;
      if (end != std::string::npos) {
        const size_t length = buffer.find("Content-Length: ");
        need = end + 4 + (length < end ? std::stoul(buffer.substr(length + 16)) : 0);
      }
      if (buffer.size() < need) {
        const ssize_t got = recv(peer, chunk, sizeof chunk, 0);
        if (got <= 0) return;
        buffer.append(chunk, static_cast<size_t>(got));
        continue;
      }
      {
        const std::lock_guard lock(mu_);
        requests_.push_back(buffer.substr(0, need));
      }
      buffer.erase(0, need);
      if (answer_.empty()) {
        shutdown(peer, SHUT_RDWR);
        return;
      }
      do {
        if (send(peer, answer_.data(), answer_.size(), MSG_NOSIGNAL) < 0) return;
      } while (endless_);
    }
  }

  std::string answer_;
  bool endless_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> connections_{0};
  std::thread thread_;
  std::vector<int> peers_;
  std::vector<std::thread> threads_;
  std::mutex mu_;
  std::vector<std::string> requests_;
};

std::unique_ptr<Client> MakeClient(ClientOptions options = {.allowed_networks = {"127.0.0.0/8"}}) {
  auto client = Client::Create(options);
  REQUIRE(client.ok());
  return *std::move(client);
}

ClientResponse Call(Client& client, ClientRequest request) {
  ClientResponse result;
  bool finished = false;
  client.Send(std::move(request), [&](ClientResponse response) {
    result = std::move(response);
    finished = true;
  });
  while (!finished) client.Run(std::chrono::milliseconds(1000));
  return result;
}

constexpr const char* kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Answer:  yes \r\n\r\nok";

TEST_CASE("Client sends what it is given and reads the answer", "[client]") {
  SocketServer server(kOk);
  auto client = MakeClient();
  const ClientResponse response = Call(*client, {.url = server.Url("/hook?a=1"),
                                                 .headers = {{"X-Key", "v"}, {"X-Empty", ""}},
                                                 .body = "{\"a\":1}"});
  CHECK(response.status == 200);
  CHECK(response.body == "ok");
  CHECK(response.network_error.empty());
  CHECK(std::ranges::find(response.headers, std::pair<std::string, std::string>(
                                                "x-answer", "yes")) != response.headers.end());
  const std::string request = server.requests().at(0);
  CHECK(request.starts_with("POST /hook?a=1 HTTP/1.1\r\n"));
  CHECK(request.find("\r\nX-Key: v\r\n") != std::string::npos);
  CHECK(request.find("\r\nX-Empty:") != std::string::npos);
  CHECK(request.find("Content-Type") == std::string::npos);
  CHECK(request.ends_with("\r\n\r\n{\"a\":1}"));
}

TEST_CASE("Client keeps connections and handles, also from one method to the next", "[client]") {
  SocketServer server(kOk);
  auto client = MakeClient();
  for (const char* method : {"POST", "PUT", "GET", "DELETE", "PATCH", "POST"}) {
    CAPTURE(method);
    const std::string body = std::string_view(method) == "GET" ? "" : "x";
    CHECK(Call(*client, {.method = method, .url = server.Url(), .body = body}).status == 200);
    CHECK(server.requests().back().starts_with(std::string(method) + " / HTTP/1.1\r\n"));
  }
  CHECK(server.connections() == 1);
}

TEST_CASE("Client runs many requests at once within its bounds", "[client]") {
  SocketServer server(kOk);
  auto client = MakeClient({.max_connections_per_host = 4, .allowed_networks = {"127.0.0.1/32"}});
  int answers = 0;
  for (int i = 0; i < 100; ++i) {
    client->Send({.url = server.Url(), .body = "x"}, [&](const ClientResponse& response) {
      answers += response.status == 200 ? 1 : 0;
    });
  }
  CHECK(client->in_flight() == 100);
  while (client->in_flight() > 0) client->Run(std::chrono::milliseconds(1000));
  CHECK(answers == 100);
  CHECK(server.connections() <= 4);
}

TEST_CASE("Client cuts bodies and leaves endless ones", "[client]") {
  SocketServer server("HTTP/1.1 200 OK\r\n\r\n" + std::string(4096, 'x'), /*endless=*/true);
  auto client = MakeClient();
  const ClientResponse response = Call(*client, {.url = server.Url(), .max_response_bytes = 1000});
  CHECK(response.status == 200);
  CHECK(response.body.size() == 1000);
}

TEST_CASE("Client does not follow redirects", "[client]") {
  SocketServer server(
      "HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n");
  auto client = MakeClient();
  CHECK(Call(*client, {.url = server.Url()}).status == 302);
}

TEST_CASE("Client says what kind of fault it was", "[client]") {
  SocketServer silent("");
  SocketServer garbage("\x01\x02\x03 not http at all\r\n\r\n");
  SocketServer working(kOk);
  auto client = MakeClient();
  struct Case {
    const char* name;
    std::string url;
    std::string error_class;
  };
  const std::vector<Case> cases = {
      {"closed without an answer", silent.Url(), "reset"},
      {"no HTTP", garbage.Url(), "protocol"},
      {"nobody listens", "http://127.0.0.1:1/", "connect"},
      {"private address", "http://10.255.255.1/", "refused_address"},
      {"metadata service", "http://169.254.169.254/latest/", "refused_address"},
      {"loopback by IPv6", "http://[::1]:1/", "refused_address"},
      {"decimal form", "http://2852039166/", "refused_address"},
      {"other scheme", "file:///etc/passwd", "invalid_request"},
      {"gopher", "gopher://127.0.0.1:1/x", "invalid_request"},
      {"line break", working.Url("/\r\nX: y"), "invalid_request"},
      {"no host", "http://", "invalid_request"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.name);
    const ClientResponse response = Call(*client, {.url = c.url});
    CHECK(response.status == 0);
    CHECK(response.error_class == c.error_class);
    CHECK_FALSE(response.network_error.empty());
  }
}

TEST_CASE("Client gives up on a server that does not answer", "[client]") {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(listen(listener, 1) == 0);
  socklen_t length = sizeof address;
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
  auto client = MakeClient();
  const ClientResponse response =
      Call(*client, {.url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)),
                     .timeout = std::chrono::milliseconds(50)});
  CHECK(response.error_class == "timeout");
  close(listener);
}

TEST_CASE("Client without an allow list refuses loopback", "[client]") {
  SocketServer server(kOk);
  auto client = MakeClient({});
  CHECK(Call(*client, {.url = server.Url()}).error_class == "refused_address");
  CHECK(server.connections() == 0);
  CHECK(Client::Create({.allowed_networks = {"nonsense"}}).status().code() ==
        StatusCode::kInvalidArgument);
}

TEST_CASE("Client reaches hosts by name: localhost, the name server's, in any spelling",
          "[client]") {
  SocketServer server(kOk);
  FakeNameServer names;
  names.Set("tool.test", {{"127.0.0.1"}});
  auto client = MakeClient({.allowed_networks = {"127.0.0.0/8"}, .name_servers = names.address()});
  for (const char* host : {"localhost", "tool.test", "TOOL.Test", "tool.test", "tool.test."}) {
    CAPTURE(host);
    const ClientResponse response = Call(*client, {.url = server.UrlOf(host)});
    CHECK(response.network_error == "");
    CHECK(response.status == 200);
  }
  CHECK(Call(*client, {.url = server.UrlOf("nowhere.test")}).error_class == "dns");
}

TEST_CASE("a name server that is silent about one host holds up no other", "[client]") {
  SocketServer server(kOk);
  FakeNameServer names;
  names.Set("silent.test", {});
  names.Set("tool.test", {{"127.0.0.1"}});
  auto client = MakeClient({.allowed_networks = {"127.0.0.0/8"}, .name_servers = names.address()});
  int silent = 0;
  for (int i = 0; i < 50; ++i) {
    client->Send(
        {.url = server.UrlOf("silent.test"), .connect_timeout = std::chrono::milliseconds(200)},
        [&](const ClientResponse& response) { silent += response.error_class == "dns" ? 1 : 0; });
  }
  for (int i = 0; i < 20; ++i) {
    CHECK(Call(*client, {.url = server.UrlOf("tool.test")}).status == 200);
  }
  while (client->in_flight() > 0) client->Run(std::chrono::milliseconds(1000));
  CHECK(silent == 50);
  CHECK(names.asked("silent.test") <= 1);
}

TEST_CASE("the guard checks what a name leads to, each time it is connected", "[client]") {
  SocketServer server(kOk);
  FakeNameServer names;
  names.Set("private.test", {{"10.255.255.1"}});
  names.Set("metadata.test", {{"169.254.169.254"}});
  names.Set("tool.test", {{"127.0.0.1"}});
  auto client = MakeClient({.allowed_networks = {"127.0.0.0/8"}, .name_servers = names.address()});
  const ClientResponse response = Call(*client, {.url = server.UrlOf("private.test")});
  CHECK(response.error_class == "refused_address");
  CHECK(response.refused_address == "10.255.255.1");
  CHECK(Call(*client, {.url = server.UrlOf("metadata.test")}).error_class == "refused_address");
  CHECK(Call(*client, {.url = server.UrlOf("tool.test")}).status == 200);

  auto strict = MakeClient({.name_servers = names.address()});
  CHECK(Call(*strict, {.url = server.UrlOf("tool.test")}).error_class == "refused_address");
  CHECK(Call(*strict, {.url = server.UrlOf("localhost")}).error_class == "refused_address");
}

TEST_CASE("one request goes out framed by the client alone, and what was dropped is counted",
          "[client]") {
  SocketServer server(kOk);
  telemetry::Metrics metrics;
  auto client = MakeClient({.allowed_networks = {"127.0.0.0/8"}, .metrics = &metrics});
  const ClientResponse response = Call(*client, {.url = server.Url(),
                                                 .headers = {{"Content-Length", "0"},
                                                             {"transfer-encoding", "chunked"},
                                                             {"HOST", "evil.example"},
                                                             {"Connection", "X-Secret"},
                                                             {"content-type", "text/plain"},
                                                             {"Content-Type", "application/json"}},
                                                 .body = "GET /second HTTP/1.1\r\n\r\n"});
  CHECK(response.status == 200);
  REQUIRE(server.requests().size() == 1);
  const std::string request = server.requests().at(0);
  CHECK(request.find("Content-Length: 24\r\n") != std::string::npos);
  CHECK(request.find("evil.example") == std::string::npos);
  CHECK(request.find("chunked") == std::string::npos);
  CHECK(request.find("onnection:") == std::string::npos);
  CHECK(request.find("content-type: application/json\r\n") != std::string::npos);
  CHECK(request.find("text/plain") == std::string::npos);
  CHECK(metrics.Render().find("millrace_http_dropped_headers_total{header=\"host\"} 1") !=
        std::string::npos);
}

TEST_CASE("Wake ends a running Run", "[client]") {
  auto client = MakeClient();
  std::thread other([&] { client->Wake(); });
  client->Run(std::chrono::hours(1));
  other.join();
}

}  // namespace
}  // namespace millrace::http
