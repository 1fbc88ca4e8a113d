#include "libs/http/resolver.h"

#include <catch2/catch.hpp>

#include <map>
#include <optional>

#include "libs/http/fake_name_server.h"

namespace millrace::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Addresses = std::vector<std::string>;

// A loop around one resolver.
class Loop {
 public:
  explicit Loop(ResolverOptions options) {
    auto resolver = Resolver::Create(
        options,
        [this](int socket, bool read, bool write) {
          if (read || write) {
            sockets_[socket] = static_cast<short>((read ? POLLIN : 0) | (write ? POLLOUT : 0));
          } else {
            sockets_.erase(socket);
          }
        },
        [this](const std::string& name) { forgotten.push_back(name); });
    REQUIRE(resolver.ok());
    resolver_ = *std::move(resolver);
  }

  void Turn() {
    std::vector<pollfd> polled;
    for (const auto& [socket, events] : sockets_) polled.push_back({socket, events, 0});
    const int timer = static_cast<int>(resolver_->NextTimer().count());
    poll(polled.data(), polled.size(), timer < 0 ? 1000 : timer);
    for (const pollfd& each : polled) {
      if (each.revents != 0) {
        resolver_->OnSocket(each.fd, (each.revents & ~POLLOUT) != 0, (each.revents & POLLOUT) != 0);
      }
    }
    if (resolver_->NextTimer().count() == 0) resolver_->OnTimer();
  }
  // The answer, however long it takes; `late` is added to the time of asking.
  Resolver::AnswerPtr Get(const std::string& name, milliseconds late = milliseconds(0)) {
    Resolver::AnswerPtr answer;
    const auto known = resolver_->Lookup(name, SystemClock().Monotonic() + late,
                                         [&](Resolver::AnswerPtr got) { answer = std::move(got); });
    if (known != nullptr) return known;
    while (answer == nullptr) Turn();
    return answer;
  }
  Resolver& resolver() { return *resolver_; }

  std::vector<std::string> forgotten;

 private:
  std::map<int, short> sockets_;
  std::unique_ptr<Resolver> resolver_;
};

TEST_CASE("Resolver answers with the addresses of the name server, and keeps them", "[resolver]") {
  FakeNameServer server;
  server.Set("tool.test", {{"192.0.2.1", "192.0.2.2"}});
  Loop loop({.servers = server.address()});
  const auto answer = loop.Get("tool.test");
  REQUIRE(answer->addresses.size() == 2);
  CHECK(answer->error.empty());
  CHECK(loop.Get("tool.test") == answer);
  CHECK(server.asked("tool.test") == 1);
}

TEST_CASE("/etc/hosts and localhost need no name server", "[resolver]") {
  FakeNameServer server;
  Loop loop({.servers = server.address()});
  const auto answer = loop.Get("localhost");
  const auto& addresses = answer->addresses;
  CHECK(std::find(addresses.begin(), addresses.end(), "127.0.0.1") != addresses.end());
  CHECK(server.asked("localhost") == 0);
}

TEST_CASE("a name is asked for once, however many wait for it", "[resolver]") {
  FakeNameServer server;
  server.Set("tool.test", {{"192.0.2.1"}});
  Loop loop({.servers = server.address()});
  int answers = 0;
  for (int i = 0; i < 100; ++i) {
    CHECK(loop.resolver().Lookup("tool.test", SystemClock().Monotonic(),
                                 [&](const Resolver::AnswerPtr& answer) {
                                   answers += answer->addresses == Addresses{"192.0.2.1"} ? 1 : 0;
                                 }) == nullptr);
  }
  while (answers < 100) loop.Turn();
  CHECK(server.asked("tool.test") == 1);
}

TEST_CASE("a name whose server is silent holds up no other name", "[resolver]") {
  FakeNameServer server;
  server.Set("silent.test", {});
  server.Set("tool.test", {{"192.0.2.1"}});
  Loop loop({.servers = server.address()});
  bool answered = false;
  loop.resolver().Lookup("silent.test", SystemClock().Monotonic(),
                         [&](const Resolver::AnswerPtr&) { answered = true; });
  CHECK(loop.Get("tool.test")->addresses == Addresses{"192.0.2.1"});
  CHECK_FALSE(answered);
}

TEST_CASE("a name that does not exist is an error that says so, kept for a moment", "[resolver]") {
  FakeNameServer server;
  Loop loop({.servers = server.address()});
  const auto answer = loop.Get("nowhere.test");
  CHECK(answer->addresses.empty());
  CHECK(answer->error.find("nowhere.test") != std::string::npos);
  CHECK(loop.Get("nowhere.test") == answer);
  const int asked = server.asked("nowhere.test");
  server.Set("nowhere.test", {{"192.0.2.9"}});
  CHECK(loop.Get("nowhere.test", seconds(2))->addresses == Addresses{"192.0.2.9"});
  CHECK(server.asked("nowhere.test") > asked);
}

TEST_CASE("an answer that is over is asked for again beside the work", "[resolver]") {
  FakeNameServer server;
  server.Set("tool.test", {{"192.0.2.1"}, 2});
  Loop loop({.servers = server.address()});
  const auto first = loop.Get("tool.test");
  CHECK(loop.Get("tool.test", milliseconds(1500)) == first);
  CHECK(server.asked("tool.test") == 1);
  server.Set("tool.test", {{"192.0.2.7"}, 2});
  CHECK(loop.Get("tool.test", milliseconds(2500)) == first);  // and asks
  while (loop.Get("tool.test") == first) loop.Turn();
  CHECK(loop.Get("tool.test")->addresses == Addresses{"192.0.2.7"});
  CHECK(loop.Get("tool.test")->version != first->version);
  CHECK(server.asked("tool.test") == 2);
}

TEST_CASE("an answer is kept no longer than a minute, whatever its lifetime", "[resolver]") {
  FakeNameServer server;
  server.Set("tool.test", {{"192.0.2.1"}, 86'400});
  Loop loop({.servers = server.address()});
  loop.Get("tool.test");
  server.Set("tool.test", {{"192.0.2.7"}, 60});
  CHECK(loop.Get("tool.test", seconds(121))->addresses == Addresses{"192.0.2.7"});
}

TEST_CASE("when the server falls silent the old addresses go on serving", "[resolver]") {
  FakeNameServer server;
  server.Set("tool.test", {{"192.0.2.1"}, 1});
  Loop loop({.try_timeout = milliseconds(1), .tries = 1, .servers = server.address()});
  Resolver::AnswerPtr first;
  do {  // a slow machine may miss a try
    first = loop.Get("tool.test", seconds(2));
  } while (first->addresses.empty());
  server.Set("tool.test", {});
  CHECK(loop.Get("tool.test", seconds(600))->addresses == Addresses{"192.0.2.1"});
}

TEST_CASE("names not asked for longest are forgotten beyond the bound", "[resolver]") {
  FakeNameServer server;
  Loop loop({.max_names = 2, .servers = server.address()});
  for (const char* name : {"a.test", "b.test", "c.test"}) {
    server.Set(name, {{"192.0.2.1"}});
    loop.Get(name);
  }
  CHECK(loop.forgotten == std::vector<std::string>{"a.test"});
}

TEST_CASE("a resolver may go while questions are open", "[resolver]") {
  FakeNameServer server;
  server.Set("silent.test", {});
  bool answered = false;
  {
    Loop loop({.servers = server.address()});
    loop.resolver().Lookup("silent.test", SystemClock().Monotonic(),
                           [&](const Resolver::AnswerPtr&) { answered = true; });
  }
  CHECK_FALSE(answered);
}

}  // namespace
}  // namespace millrace::http
