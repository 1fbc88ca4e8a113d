// The load tools: `millrace-load send` posts events over many keep-alive connections and reports
// rates and latencies as JSON; `millrace-load sink` is an HTTP server that answers 200 to all and
// counts. Both are one thread of epoll, so that they leave the machine to what is measured.

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/hash.h"
#include "libs/base/ids.h"

namespace millrace {
namespace {

using SteadyClock = std::chrono::steady_clock;

[[noreturn]] void Die(const std::string& message) {
  fmt::print(stderr, "millrace-load: {}\n", message);
  std::exit(1);
}

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// Bytes of the first whole HTTP message in `data` (head and a body by Content-Length); 0 when it
/// is not all there yet.
size_t MessageSize(std::string_view data) {
  const size_t end = data.find("\r\n\r\n");
  if (end == std::string_view::npos) return 0;
  size_t length = 0;
  for (size_t at = data.find("\r\n"); at < end; at = data.find("\r\n", at + 2)) {
    constexpr std::string_view kName = "content-length:";
    const std::string_view line = data.substr(at + 2, kName.size());
    if (line.size() == kName.size() && strncasecmp(line.data(), kName.data(), kName.size()) == 0) {
      const char* digits = data.data() + at + 2 + kName.size();
      while (*digits == ' ') ++digits;
      std::from_chars(digits, data.data() + data.size(), length);
    }
  }
  return data.size() >= end + 4 + length ? end + 4 + length : 0;
}

struct SendOptions {
  int port = 0;
  std::string write_key;
  long events = 100'000;
  int batch = 1;
  int connections = 64;
  int users = 1000;
  int stuck = 0;  // of the users: named stuck-N, so that a sink can refuse them
  int event_bytes = 512;
  long rate = 0;  // events a second; 0 = as fast as they are answered
  std::string prefix = NewUuid();
};

class Sender {
 public:
  explicit Sender(SendOptions options) : options_(std::move(options)) {}

  void Run() {
    epoll_ = epoll_create1(0);
    const auto start = SteadyClock::now();
    connections_.resize(static_cast<size_t>(options_.connections));
    due_ = last_answer_ = start;
    for (size_t i = 0; i < connections_.size(); ++i) {
      Connect(i);
      idle_.push_back(i);
    }
    std::vector<epoll_event> ready(256);
    while (open_ > 0) {
      SendDue();
      if (open_ == 0) break;  // the last answer was there already
      const int count = epoll_wait(epoll_, ready.data(), static_cast<int>(ready.size()), Wait());
      if (count > 0) last_answer_ = SteadyClock::now();
      if (SteadyClock::now() - last_answer_ > std::chrono::seconds(10)) Die("no answer for 10 s");
      for (int i = 0; i < count; ++i) Read(ready[static_cast<size_t>(i)].data.u64);
    }
    Report(std::chrono::duration<double>(SteadyClock::now() - start).count());
  }

 private:
  struct Connection {
    int fd = -1;
    std::string in;
    int events = 0;
    SteadyClock::time_point sent_at;
  };

  /// Gives the connections that wait for it their next request, as the rate allows.
  void SendDue() {
    while (!idle_.empty() && (options_.rate == 0 || SteadyClock::now() >= due_)) {
      const size_t index = idle_.front();
      idle_.pop_front();
      SendNext(index);
      if (options_.rate == 0) continue;
      due_ += std::chrono::nanoseconds(1'000'000'000L * options_.batch / options_.rate);
    }
  }

  int Wait() const {
    if (options_.rate == 0 || idle_.empty()) return 10'000;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(due_ - SteadyClock::now());
    return static_cast<int>(std::clamp<long>(left.count(), 0, 10'000));
  }

  void Connect(size_t index) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(options_.port);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      Die(fmt::format("connecting to port {}: {}", options_.port, std::strerror(errno)));
    }
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    epoll_event event{.events = EPOLLIN, .data = {.u64 = index}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
    connections_[index].fd = fd;
    ++open_;
  }

  std::string Event() {
    const long number = sent_++;
    const long user = number % options_.users;
    std::string event = fmt::format(
        R"({{"type":"track","event":"Order Completed","userId":"{}-{}","messageId":"{}-{}",)"
        R"("originalTimestamp":"2026-11-24T00:00:00.000Z","context":{{"library":{{"name":"load",)"
        R"("version":"1.0"}},"locale":"en-GB"}},"properties":{{"seq":{},"price":{}.5,"label":")",
        user < options_.stuck ? "stuck" : "user", user, options_.prefix, number, number,
        number % 100);
    const size_t end = static_cast<size_t>(options_.event_bytes) - 3;
    if (event.size() < end) event.append(end - event.size(), 'x');
    return event + "\"}}";
  }

  void SendNext(size_t index) {
    Connection& connection = connections_[index];
    if (sent_ >= options_.events) {
      close(connection.fd);
      --open_;
      return;
    }
    std::string body;
    connection.events = 0;
    if (options_.batch == 1) {
      body = Event();
      connection.events = 1;
    } else {
      body = R"({"batch":[)";
      while (connection.events < options_.batch && sent_ < options_.events) {
        if (connection.events++ > 0) body += ',';
        body += Event();
      }
      body += "]}";
    }
    std::string request = fmt::format(
        "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {}\r\nContent-Type: "
        "application/json\r\nContent-Length: {}\r\n\r\n",
        options_.batch == 1 ? "/v1/track" : "/v1/batch", EncodeBase64(options_.write_key + ":"),
        body.size());
    request += body;
    connection.sent_at = SteadyClock::now();
    ++requests_;
    for (std::string_view rest = request; !rest.empty();) {
      const ssize_t wrote = send(connection.fd, rest.data(), rest.size(), MSG_NOSIGNAL);
      if (wrote <= 0) Die("the server closed a connection");
      rest.remove_prefix(static_cast<size_t>(wrote));
    }
  }

  void Read(size_t index) {
    Connection& connection = connections_[index];
    char buffer[16384];
    const ssize_t got = recv(connection.fd, buffer, sizeof buffer, 0);
    if (got <= 0) Die("the server closed a connection");
    connection.in.append(buffer, static_cast<size_t>(got));
    const size_t size = MessageSize(connection.in);
    if (size == 0) return;
    const int status = std::atoi(connection.in.c_str() + 9);
    ++statuses_[status];
    if (status == 200) accepted_ += connection.events;
    latencies_us_.push_back(std::chrono::duration_cast<std::chrono::microseconds>(
                                SteadyClock::now() - connection.sent_at)
                                .count());
    connection.in.erase(0, size);
    idle_.push_back(index);
  }

  void Report(double seconds) {
    std::sort(latencies_us_.begin(), latencies_us_.end());
    const auto at = [&](double share) {
      const auto last = static_cast<double>(latencies_us_.size() - 1);
      return static_cast<double>(latencies_us_[static_cast<size_t>(share * last)]) / 1000;
    };
    std::string statuses;
    for (const auto& [status, count] : statuses_) {
      statuses += fmt::format("{}\"{}\":{}", statuses.empty() ? "" : ",", status, count);
    }
    fmt::print(
        R"({{"accepted":{},"requests":{},"seconds":{:.3f},"p50_ms":{:.3f},"p99_ms":{:.3f},"statuses":{{{}}}}})"
        "\n",
        accepted_, requests_, seconds, at(0.5), at(0.99), statuses);
  }

  SendOptions options_;
  int epoll_ = -1;
  int open_ = 0;
  long sent_ = 0;
  long requests_ = 0;
  long accepted_ = 0;
  SteadyClock::time_point due_;  // of the next request, with a rate
  SteadyClock::time_point last_answer_;
  std::deque<size_t> idle_;  // connections without a request under way
  std::vector<Connection> connections_;
  std::vector<long> latencies_us_;
  std::map<int, long> statuses_;
};

/// A tool: answers with 200 and counts. `GET /refuse/STATUS/TEXT` makes it answer STATUS to what
/// holds TEXT in its body (empty: to all) from then on, 0 for STATUS ends that; `GET /count` tells
/// {"count", "refused"}.
class Sink {
 public:
  [[noreturn]] void Run(int port) {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_in address = Loopback(port);
    socklen_t size = sizeof address;
    if (bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener, 1024) != 0) {
      Die(fmt::format("listening on port {}: {}", port, std::strerror(errno)));
    }
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    fmt::print("{}\n", ntohs(address.sin_port));
    std::fflush(stdout);
    const int epoll = epoll_create1(0);
    epoll_event event{.events = EPOLLIN, .data = {.fd = listener}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    std::vector<epoll_event> ready(256);
    while (true) {
      const int count = epoll_wait(epoll, ready.data(), static_cast<int>(ready.size()), -1);
      for (int i = 0; i < count; ++i) {
        const int fd = ready[static_cast<size_t>(i)].data.fd;
        if (fd != listener) {
          Read(fd);
          continue;
        }
        const int accepted = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        event = {.events = EPOLLIN, .data = {.fd = accepted}};
        epoll_ctl(epoll, EPOLL_CTL_ADD, accepted, &event);
      }
    }
  }

 private:
  void Read(int fd) {
    char buffer[65536];
    const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0) {
      pending_.erase(fd);
      close(fd);
      return;
    }
    std::string& in = pending_[fd];
    in.append(buffer, static_cast<size_t>(got));
    std::string out;
    for (size_t size = MessageSize(in); size > 0; size = MessageSize(in)) {
      out += Answer(std::string_view(in).substr(0, size));
      in.erase(0, size);
    }
    if (!out.empty() && send(fd, out.data(), out.size(), MSG_NOSIGNAL) < 0) {
      pending_.erase(fd);
      close(fd);
    }
  }

  std::string Answer(std::string_view request) {
    std::string body = "ok";
    int status = 200;
    constexpr std::string_view kRefuse = "GET /refuse/";
    if (request.rfind("GET /count", 0) == 0) {
      body = fmt::format(R"({{"count":{},"refused":{}}})", count_, refused_);
    } else if (request.rfind(kRefuse, 0) == 0) {
      const std::string_view rest = request.substr(kRefuse.size());
      const size_t slash = std::min(rest.find('/'), rest.size() - 1);
      refusal_ = std::atoi(std::string(rest.substr(0, slash)).c_str());
      refused_text_ = rest.substr(slash + 1, rest.find(' ') - slash - 1);
    } else if (refusal_ != 0 && request.find(refused_text_) != std::string_view::npos) {
      status = refusal_;
      ++refused_;
    } else {
      ++count_;
    }
    return fmt::format("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n{}", status, body.size(), body);
  }

  std::map<int, std::string> pending_;
  std::string refused_text_;
  int refusal_ = 0;
  long count_ = 0;
  long refused_ = 0;
};

int Usage() {
  fmt::print(
      stderr,
      "usage: millrace-load send PORT WRITE_KEY [events=N] [batch=N] [connections=N] [users=N] "
      "[stuck=N] [bytes=N] [rate=N]\n       millrace-load sink [PORT]\n");
  return 2;
}

int Main(int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "sink") Sink().Run(argc > 2 ? std::atoi(argv[2]) : 0);
  if (command != "send" || argc < 4) return Usage();
  SendOptions options{.port = std::atoi(argv[2]), .write_key = argv[3]};
  for (int i = 4; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const size_t equals = argument.find('=');
    if (equals == std::string_view::npos) return Usage();
    const std::string_view name = argument.substr(0, equals);
    const long value = std::atol(argv[i] + equals + 1);
    if (name == "events")
      options.events = value;
    else if (name == "batch")
      options.batch = static_cast<int>(value);
    else if (name == "connections")
      options.connections = static_cast<int>(value);
    else if (name == "users")
      options.users = static_cast<int>(value);
    else if (name == "bytes")
      options.event_bytes = static_cast<int>(value);
    else if (name == "stuck")
      options.stuck = static_cast<int>(value);
    else if (name == "rate")
      options.rate = value;
    else
      return Usage();
  }
  Sender(std::move(options)).Run();
  return 0;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  return millrace::Main(argc, argv);
}
