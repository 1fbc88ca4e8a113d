// What one client can cost the others: answers it does not read, connections it does not use.

#include <catch2/catch.hpp>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "libs/http/server_testing.h"

using namespace millrace;
using namespace millrace::http;
using namespace millrace::http::test;
using std::chrono::milliseconds;

namespace {

constexpr std::string_view kGet = "GET /small HTTP/1.1\r\nHost: a\r\n\r\n";

std::string Many(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

// Answers that no socket's buffers hold.
void Large(Request request, Responder responder) {
  if (request.path == "/small") return responder.Send({200, {}, "small\n"});
  responder.Send({200, {}, std::string(16 << 20, 'x') + "end\n"});
}

// Keeps the requests of /held until it is told to answer.
class Holder {
 public:
  void operator()(Request request, Responder responder) {
    if (request.path != "/held") return responder.Send({200, {}, "small\n"});
    const std::scoped_lock lock(mu_);
    held_.push_back(std::move(responder));
    came_.notify_all();
  }
  void Wait(size_t count) {
    std::unique_lock lock(mu_);
    came_.wait(lock, [&] { return held_.size() >= count; });
  }
  void Answer() {
    const std::scoped_lock lock(mu_);
    for (const Responder& one : held_) one.Send({200, {}, "held\n"});
    held_.clear();
  }

 private:
  std::mutex mu_;
  std::condition_variable came_;
  std::vector<Responder> held_;
};

}  // namespace

TEST_CASE("A client that asks and does not read has one answer due, not all", "[http]") {
  std::atomic<int> handled = 0;
  const auto server = StartServer([&](Request request, Responder responder) {
    if (request.path == "/large") ++handled;
    Large(std::move(request), std::move(responder));
  });
  Client greedy(server->port());
  greedy.Send(Many("GET /large HTTP/1.1\r\nHost: a\r\n\r\n", 64));
  Client other(server->port());
  for (int i = 0; i < 20; ++i) {
    other.Send(kGet);
    CHECK(Client::Count(other.ReadUntil("small\n"), "200 OK") == 1);
  }
  CHECK(handled <= 1);
  const std::string text = greedy.ReadUntil("end\n", 3);
  CHECK(Client::Count(text, "HTTP/1.1 200 OK") >= 3);
}

TEST_CASE("A client that does not read is cut off after a time", "[http]") {
  std::promise<void> asked;
  const auto handler = [&](Request request, Responder responder) {
    Large(std::move(request), std::move(responder));
    asked.set_value();
  };
  const auto server = StartServer(handler, {.write_timeout = milliseconds(100)});
  Client greedy(server->port());
  greedy.Send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
  asked.get_future().wait();
  while (server->Stats().connections != 0) std::this_thread::sleep_for(milliseconds(5));
  CHECK(Client::Count(greedy.ReadAll(), "end\n") == 0);
}

TEST_CASE("Thousands of pipelined requests are answered one by one", "[http]") {
  const auto server = StartServer(Large);
  Client client(server->port());
  std::thread sender([&] {
    client.Send(Many(kGet, 20'000));
    client.FinishSending();  // what was asked for before is still answered
  });
  CHECK(Client::Count(client.ReadAll(), "small\n") == 20'000);
  sender.join();
}

TEST_CASE("Shared bytes follow the body, and come to each client", "[http]") {
  const Bytes page(std::string(3 << 20, 'p') + "end\n");
  const auto server = StartServer([&](Request, Responder responder) {
    responder.Send({.status = 200, .headers = {}, .body = "head:", .shared = page});
  });
  Client client(server->port());
  client.Send(Many(kGet, 3));
  const std::string text = client.ReadUntil("end\n", 3);
  CHECK(Client::Count(text, "Content-Length: " + std::to_string(page.size() + 5)) == 3);
  CHECK(Client::Count(text, "\r\n\r\nhead:ppp") == 3);
  client.Send("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(Client::Count(client.ReadAll(), "ppp") == 0);
}

TEST_CASE("At the limit the connection that is idle longest makes room", "[http]") {
  Holder holder;
  const auto server = StartServer(std::ref(holder), {.max_connections = 3});
  Client busy(server->port());
  busy.Send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  holder.Wait(1);
  Client oldest(server->port());
  oldest.Send(kGet);
  oldest.ReadUntil("small\n");
  Client slow(server->port());
  slow.Send("GET /small HTT");
  Client fresh(server->port());
  fresh.Send(kGet);
  CHECK(Client::Count(fresh.ReadUntil("small\n"), "200 OK") == 1);
  CHECK(oldest.ReadAll().empty());  // closed
  CHECK(server->Stats().closed_for_room == 1);
  slow.Send("P/1.1\r\nHost: a\r\n\r\n");
  CHECK(Client::Count(slow.ReadUntil("small\n"), "200 OK") == 1);
  holder.Answer();
  CHECK(Client::Count(busy.ReadUntil("held\n"), "200 OK") == 1);
}

TEST_CASE("When every connection is at work a new one gets a 503", "[http]") {
  Holder holder;
  const auto server = StartServer(std::ref(holder), {.max_connections = 2});
  Client first(server->port()), second(server->port());
  first.Send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  second.Send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  holder.Wait(2);
  Client third(server->port());
  const std::string text = third.ReadAll();
  CHECK(Client::Count(text, "HTTP/1.1 503 ") == 1);
  CHECK(Client::Count(text, "Retry-After: ") == 1);
  CHECK(server->Stats().refused == 1);
  holder.Answer();
  CHECK(Client::Count(first.ReadUntil("held\n"), "200 OK") == 1);
}

TEST_CASE("Descriptors that are kept for others are not taken by connections", "[http]") {
  const int probe = dup(0);
  close(probe);
  // The server itself takes a few; each client one here and one there.
  const auto server = StartServer(Large, {.first_reserved_descriptor = probe + 40});
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<Client>(server->port()));
    clients.back()->Send(kGet);
    REQUIRE(Client::Count(clients.back()->ReadUntil("small\n"), "200 OK") == 1);
  }
  CHECK(server->Stats().refused == 0);
  CHECK(server->Stats().connections <= 40);
}
