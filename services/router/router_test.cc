// The router on the local log, delivering over real sockets.
#include "services/router/router_bench.h"

namespace millrace::router {
namespace {

TEST_CASE("Router delivers, filters and dead-letters, and counts each event once", "[router]") {
  Sink sink([](const http::Request& request) {
    return http::Response{.status = request.body.view() == "refuse" ? 400 : 200, .body = "answer"};
  });
  Bench bench;
  bench.AddDestination("d", sink.url());
  for (const char* text : {"one", "filter", "broken", "refuse", "twice"})
    bench.Emit("d", "u", text);
  bench.Start();
  bench.Final(5);
  bench.Stop();
  CHECK(sink.bodies() == std::vector<std::string>{"one", "refuse", "twice", "twice, second"});
  CHECK(sink.keys() == std::vector<std::string>{"d:m1", "d:m4", "d:m5", "d:m5:1"});
  auto counts = bench.Counts();
  CHECK(counts[accounting::v1::DELIVERED] == 2);
  CHECK(counts[accounting::v1::FILTERED] == 1);
  CHECK(counts[accounting::v1::DEAD_LETTERED] == 2);
  const auto letters = bench.DeadLetters();
  REQUIRE(letters.size() == 2);
  CHECK(letters[0].error_class() == "mapping");
  CHECK(letters[0].stack() == "at map (mapping.js:1)");
  CHECK(letters[1].error_class() == "rejected");
  CHECK(letters[1].event() == "refuse");
  CHECK(letters[1].user_key() == "u");
  CHECK(letters[1].last_exchange().status() == 400);
  CHECK(letters[1].last_exchange().response_body() == "answer");
}

TEST_CASE("Router keeps each user's order while it retries", "[router]") {
  std::map<std::string, int> tries;
  Sink sink([&](const http::Request& request) {
    const std::string_view body = request.body.view();
    const int number = ++tries[std::string(body)];
    // Fewer users than it takes to say that the destination fails.
    const bool fails = body[0] < '4' && body.size() % 2 == 0 && number < 4;
    return http::Response{.status = fails ? 503 : 200};
  });
  Bench bench;
  bench.AddDestination("d", sink.url());
  for (int i = 0; i < 300; ++i) {
    bench.Emit("d", "user" + std::to_string(i % 10),
               std::to_string(i % 10) + ":" + std::to_string(1000 + i) + std::string(i % 3, ' '));
  }
  bench.Start();
  bench.Final(300);
  bench.Stop();
  CHECK(InOrder<std::less_equal<>>(sink.bodies()));  // the same again is a retry
  CHECK(tries.size() == 300);
  CHECK(bench.Counts()[accounting::v1::DELIVERED] == 300);
}

TEST_CASE("Router does not send finished events again after a restart", "[router]") {
  std::atomic<bool> healthy{false};
  std::map<std::string, int> tries;
  Sink sink([&](const http::Request& request) {
    ++tries[std::string(request.body.view())];
    return http::Response{.status = request.body.view() == "stuck" && !healthy ? 500 : 200};
  });
  Bench bench;
  bench.AddDestination("d", sink.url());
  bench.Emit("d", "stuck user", "stuck");
  bench.Emit("d", "stuck user", "behind");
  for (int i = 0; i < 100; ++i)
    bench.Emit("d", "u" + std::to_string(i), "event " + std::to_string(i));
  bench.Start();
  bench.Final(100);
  bench.Stop();
  CHECK(tries["behind"] == 0);
  healthy = true;
  bench.Start();
  bench.Final(102);
  bench.Stop();
  tries.erase("stuck");
  CHECK(tries.size() == 101);
  for (const auto& [body, number] : tries) {
    CAPTURE(body);
    CHECK(number == 1);
  }
  CHECK(bench.Counts()[accounting::v1::DELIVERED] == 102);
}

TEST_CASE("Router holds a dead destination's events without slowing another", "[router]") {
  Sink sink([](const http::Request&) { return http::Response{}; });
  Bench bench;
  bench.settings_.set_window_records(10);
  bench.settings_.set_retry_max_ms(60'000);
  bench.settings_.set_retry_initial_ms(60'000);
  bench.AddDestination("dead", "http://127.0.0.1:1/");
  bench.AddDestination("well", sink.url());
  for (int i = 0; i < 200; ++i) {
    bench.Emit("dead", "u" + std::to_string(i), "x");
    bench.Emit("well", "u" + std::to_string(i), "y");
  }
  bench.Start();
  bench.Final(200);
  bench.Stop();
  CHECK(sink.bodies().size() == 200);
  CHECK(bench.DeadLetters().empty());
}

TEST_CASE(
    "Router's workers deliver each event once and in order while they share out the partitions",
    "[router]") {
  Sink sink([](const http::Request&) { return http::Response{}; });
  Bench bench;
  bench.settings_.set_workers(3);
  bench.settings_.set_commit_max_events(10);
  for (const char* id : {"d", "e"}) bench.AddDestination(id, sink.url());
  for (int i = 0; i < 400; ++i) {
    bench.Emit(i % 2 == 0 ? "d" : "e", "user" + std::to_string(i % 10),
               std::to_string(i % 10) + ":" + std::to_string(1000 + i));
  }
  bench.Start();
  bench.Final(400);
  bench.Stop();
  CHECK(InOrder<std::less<>>(sink.bodies()));
  CHECK(sink.bodies().size() == 400);
  CHECK(bench.Counts()[accounting::v1::DELIVERED] == 400);
}

TEST_CASE("Router gives up on what is too old", "[router]") {
  Sink sink([](const http::Request&) { return http::Response{.status = 500}; });
  Bench bench;
  bench.settings_.set_max_retry_age_s(1);
  bench.AddDestination("d", sink.url());
  bench.Emit("d", "u", "x");
  bench.Start();
  CHECK(bench.Final(1)[0].outcome() == delivery::v1::DEAD_LETTERED);
  bench.Stop();
  REQUIRE(bench.DeadLetters().size() == 1);
  CHECK(bench.DeadLetters()[0].error_class() == "expired");
  CHECK(bench.DeadLetters()[0].attempts() > 1);
}

}  // namespace
}  // namespace millrace::router
