// Users that hold up others, destinations that fail as a whole, and what is given up.
#include "libs/base/failpoint.h"
#include "services/router/router_bench.h"

namespace millrace::router {
namespace {

/// Refuses all whose body begins with 's' (of a stuck user) until it is healed.
class StuckUsers {
 public:
  explicit StuckUsers(int status = 500)
      : sink_([this, status](const http::Request& request) {
          const bool fails = request.body.view().front() == 's' && !healed_;
          if (!fails) taken_.emplace_back(request.body.view());
          return http::Response{.status = fails ? status : 200};
        }) {}
  std::string url() const { return sink_.url(); }
  void Heal() { healed_ = true; }
  std::vector<std::string> attempts() { return sink_.bodies(); }

  /// Whether each was taken once, those of a user ("s7:0012": user, then number) by their numbers.
  bool EachOnceInOrder(size_t count) {
    std::map<std::string, std::string> last;
    for (const std::string& body : taken_) {
      const std::string user = body.substr(0, body.find(':'));
      const std::string before = std::exchange(last[user], body);
      if (before >= body) UNSCOPED_INFO(body << " came after " << before);
      if (before >= body) return false;
    }
    if (taken_.size() != count) UNSCOPED_INFO(taken_.size() << " were taken");
    return taken_.size() == count;
  }

 private:
  std::atomic<bool> healed_{false};
  std::vector<std::string> taken_;  // under the sink's lock
  Sink sink_;
};

/// Events of `users` users of a kind, `each` for each, one after the other.
void EmitUsers(Bench& bench, const std::string& kind, int users, int each, int from = 0) {
  for (int i = 0; i < each; ++i) {
    for (int u = 0; u < users; ++u) {
      const std::string user = kind + std::to_string(u);
      bench.Emit("d", user, user + fmt::format(":{:04}", from + i));
    }
  }
}

TEST_CASE("A user whose events fail is parked, so that it holds up neither others nor the log",
          "[parking]") {
  StuckUsers tool;
  Bench bench;
  bench.settings_.set_park_after_ms(20);
  bench.settings_.set_window_records(40);
  bench.AddDestination("d", tool.url());
  EmitUsers(bench, "s", 1, 30);
  EmitUsers(bench, "w", 10, 30);
  bench.Start();
  bench.Final(300);
  bench.AwaitAllCommitted("d");
  EmitUsers(bench, "s", 1, 10, 30);  // follow the others of their user
  bench.AwaitAllCommitted("d");
  tool.Heal();
  bench.Final(340);
  EmitUsers(bench, "s", 1, 10, 40);  // it is no longer parked
  bench.Final(350);
  bench.Stop();
  CHECK(tool.EachOnceInOrder(350));
  CHECK(bench.Counts()[accounting::v1::DELIVERED] == 350);
  CHECK(bench.DeadLetters().empty());
}

TEST_CASE("More stuck users than memory holds let all others pass, and recover in order",
          "[parking]") {
  StuckUsers tool;
  Bench bench;
  bench.settings_.set_park_after_ms(20);
  bench.settings_.set_window_records(40);
  bench.AddDestination("d", tool.url());
  for (int i = 0; i < 450; ++i) {
    for (const char* kind : {"s", "w"}) {
      const std::string user = kind + std::to_string(i % 150);
      bench.Emit("d", user, user + fmt::format(":{:04}", i / 150));
    }
  }
  bench.Start();
  bench.Final(450);
  bench.AwaitAllCommitted("d");
  tool.Heal();
  bench.Final(900);
  bench.Stop();
  CHECK(tool.EachOnceInOrder(900));
}

TEST_CASE("Parked users stay parked over restarts, wherever the router ends", "[parking]") {
  const int workers = GENERATE(1, 3);
  const std::string failpoint =
      GENERATE("", "router.before_commit:2:error", "router.before_commit:9:error",
               "router.after_send:15:error");
  CAPTURE(workers, failpoint);
  StuckUsers tool;
  Bench bench;
  bench.settings_.set_workers(static_cast<uint32_t>(workers));
  bench.settings_.set_park_after_ms(10);
  bench.settings_.set_window_records(20);
  bench.AddDestination("d", tool.url());
  EmitUsers(bench, "s", 50, 4);
  EmitUsers(bench, "w", 50, 2);
  if (!failpoint.empty()) REQUIRE(ArmFailpoints(failpoint).ok());
  bench.Start();
  bench.Final(100);
  bench.AwaitAllCommitted("d");
  bench.Stop();
  EmitUsers(bench, "s", 50, 2, 4);
  EmitUsers(bench, "w", 50, 1, 2);
  bench.settings_.set_workers(static_cast<uint32_t>(4 - workers));
  bench.Start();
  bench.Final(150);
  bench.Stop();
  bench.Start();
  tool.Heal();
  bench.Final(450);
  bench.Stop();
  if (failpoint != "router.after_send:15:error") CHECK(tool.EachOnceInOrder(450));
  CHECK(bench.Counts()[accounting::v1::DELIVERED] == 450);
}

TEST_CASE("One busy user does not fill the window of the others", "[parking]") {
  std::atomic<int> hot{0};
  std::atomic<int> hot_before_last_other{0};
  Sink sink([&](const http::Request& request) {
    if (request.body.view().front() == 'h') {
      std::this_thread::sleep_for(milliseconds(4));  // a tool that takes its time
      ++hot;
    } else {
      hot_before_last_other = hot.load();
    }
    return http::Response{};
  });
  Bench bench;
  bench.settings_.set_window_records(200);
  bench.AddDestination("d", sink.url());
  EmitUsers(bench, "h", 1, 1500);
  bench.Emit("d", "h0", "h0:9999");
  for (int i = 0; i < 50; ++i) bench.Emit("d", "w" + std::to_string(i), "w");
  bench.Start();
  bench.Final(1551);
  bench.Stop();
  CHECK(hot_before_last_other < 1000);
  std::string last;
  for (const std::string& body : sink.bodies()) {
    if (body.front() != 'h') continue;
    CHECK(last < body);
    last = body;
  }
}

TEST_CASE("A year of Retry-After holds a destination no longer than the cap", "[router]") {
  std::atomic<int> tries{0};
  Sink sink([&](const http::Request&) {
    if (++tries > 1) return http::Response{};
    return http::Response{.status = 429, .headers = {{"Retry-After", "31536000"}}};
  });
  Bench bench;
  bench.settings_.set_retry_after_cap_s(1);
  bench.AddDestination("d", sink.url());
  bench.Emit("d", "u", "x");
  bench.Start();
  CHECK(bench.Final(1)[0].outcome() == delivery::v1::DELIVERED);
  bench.Stop();
}

TEST_CASE("A changed destination is tried at once, whatever wait was asked for", "[router]") {
  std::atomic<int> tries{0};
  Sink sink([&](const http::Request&) {
    if (++tries > 1) return http::Response{};
    return http::Response{.status = 429, .headers = {{"Retry-After", "31536000"}}};
  });
  Bench bench;
  bench.AddDestination("d", sink.url());
  for (int i = 0; i < 5; ++i) bench.Emit("d", "u", "x");
  bench.Start();
  Bench::Await([&] { return bench.Retrying() > 0; });
  bench.Change([](auto&) {});
  bench.Final(5);
  bench.Stop();
  CHECK(tries >= 6);
}

TEST_CASE("What waits for a paused destination is held, and goes on when it is resumed",
          "[router]") {
  Sink sink([](const http::Request&) { return http::Response{}; });
  Bench bench;
  bench.AddDestination("d", sink.url());
  bench.AddDestination("other", sink.url());
  bench.Pause("d");
  bench.Emit("d", "u", "held");
  bench.Emit("other", "u", "passes");
  bench.Start();
  bench.Final(1);
  CHECK(sink.bodies() == std::vector<std::string>{"passes"});
  bench.Change([](auto& destination) { destination.set_paused(false); });
  bench.Final(2);
  bench.Stop();
  CHECK(sink.bodies() == std::vector<std::string>{"passes", "held"});
}

TEST_CASE("What an operator gave up goes to the dead letters, parked or not", "[router]") {
  StuckUsers tool;
  Bench bench;
  bench.settings_.set_park_after_ms(10);
  bench.AddDestination("d", tool.url());
  EmitUsers(bench, "s", 4, 3);
  EmitUsers(bench, "w", 1, 1);
  bench.Start();
  bench.Final(1);
  bench.AwaitAllCommitted("d");
  bench.Change([](auto& destination) {
    auto& rule = *destination.add_give_ups();
    rule.set_id("g1");
    rule.set_appended_before_us(SystemClock().NowMicros() + 1'000'000);
    rule.set_user_key("s1");
  });
  bench.Final(4);
  CHECK(bench.DeadLetters().size() == 3);
  for (const auto& letter : bench.DeadLetters()) {
    CHECK(letter.error_class() == "given_up");
    CHECK(letter.user_key() == "s1");
  }
  tool.Heal();
  bench.Final(13);
  bench.Stop();
}

TEST_CASE("The backlog of a destination disabled for long is given up", "[router]") {
  Sink sink([](const http::Request&) { return http::Response{}; });
  Bench bench;
  bench.AddDestination("d", sink.url());
  for (int i = 0; i < 600; ++i) bench.Emit("d", "u" + std::to_string(i % 7), "x");
  bench.Disable("d", SystemClock().NowMicros() - int64_t{8} * 24 * 3600 * 1'000'000);
  bench.Start();
  bench.Final(600);
  bench.Stop();
  CHECK(sink.bodies().empty());
  CHECK(bench.DeadLetters().size() == 600);
}

TEST_CASE("A dead destination that uses up its share of the log gives up its oldest events",
          "[router]") {
  StuckUsers tool;
  Bench bench;
  bench.settings_.set_park_after_ms(10);
  bench.AddDestination("d", tool.url());
  bench.ShareOf("d", 200 << 10);
  const std::string filler(8 << 10, 'x');
  for (int i = 0; i < 60; ++i) {
    bench.Emit("d", "s" + std::to_string(i), fmt::format("s{:03}:{}", i, filler));
  }
  bench.Start();
  bench.FinalAtLeast(20);
  bench.Stop();
  const auto letters = bench.DeadLetters();
  CHECK(letters.size() < 60);
  for (const auto& letter : letters) CHECK(letter.error_class() == "given_up");
}

TEST_CASE("A deleted destination leaves the others at work", "[router]") {
  Sink sink([](const http::Request& request) {
    return http::Response{.status = request.body.view() == "x" ? 500 : 200};
  });
  Bench bench;
  bench.AddDestination("d", sink.url());
  bench.AddDestination("other", sink.url());
  for (int i = 0; i < 10; ++i) bench.Emit("d", "u" + std::to_string(i), "x");
  bench.Emit("other", "u", "y");
  bench.Start();
  bench.Final(1);
  bench.DeleteDestination();
  for (int i = 0; i < 10; ++i) bench.Emit("other", "u", "y");
  bench.Final(11);
  bench.Stop();
}

TEST_CASE("A destination that failed as a whole gets all at once when it is back", "[router]") {
  std::atomic<bool> healthy{false};
  std::atomic<int> refused{0};
  Sink sink([&](const http::Request&) {
    if (!healthy) ++refused;
    return http::Response{.status = healthy ? 200 : 503};
  });
  Bench bench;
  bench.settings_.set_retry_initial_ms(200'000);  // an own back-off that nobody waits for
  bench.settings_.set_retry_max_ms(300'000);
  bench.settings_.set_concurrent_requests(10);
  bench.AddDestination("d", sink.url());
  for (int i = 0; i < 300; ++i) bench.Emit("d", "u" + std::to_string(i), "x");
  bench.Start();
  // More than are under way when it begins to count as failing: the last ones were probes.
  Bench::Await([&] { return refused >= 32; });
  healthy = true;
  bench.Final(300);
  bench.Stop();
  CHECK(refused < 250);  // the others were spared
}

}  // namespace
}  // namespace millrace::router
