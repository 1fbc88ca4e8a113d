#include "libs/transformation/fetcher.h"

#include <catch2/catch.hpp>

#include <atomic>
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>

#include "libs/http/server.h"

namespace millrace::transformation {
namespace {

using std::chrono::milliseconds;

/// Answers by path; /hold answers only when released.
class World {
 public:
  World() {
    auto server = http::Server::Start({.max_body_bytes = 4 << 20},
                                      [this](http::Request request, http::Responder responder) {
                                        Serve(std::move(request), std::move(responder));
                                      });
    REQUIRE(server.ok());
    server_ = *std::move(server);
  }
  ~World() {
    Release();
    server_->Stop(milliseconds(1'000));
  }
  std::string Url(const std::string& path, const std::string& host = "127.0.0.1") const {
    return "http://" + host + ":" + std::to_string(server_->port()) + path;
  }
  int Count(const std::string& path) {
    const std::lock_guard lock(mu_);
    return counts_[path];
  }
  http::Request last() {
    const std::lock_guard lock(mu_);
    return last_;
  }
  /// Waits until so many requests are held.
  void WaitHeld(size_t number) {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [&] { return held_.size() >= number; });
  }
  size_t held() {
    const std::lock_guard lock(mu_);
    return held_.size();
  }
  size_t Release() {
    std::vector<http::Responder> held;
    {
      const std::lock_guard lock(mu_);
      held.swap(held_);
    }
    for (const auto& responder : held) responder.Send({.body = "released"});
    return held.size();
  }

 private:
  void Serve(http::Request request, http::Responder responder) {
    const std::string path = request.path;
    std::unique_lock lock(mu_);
    ++counts_[path];
    last_ = request;
    if (path.starts_with("/hold")) {
      held_.push_back(std::move(responder));
      changed_.notify_all();
      return;
    }
    lock.unlock();
    if (path == "/json") {
      responder.Send({.headers = {{"Content-Type", "application/json"},
                                  {"X-Multi", "1"},
                                  {"X-Multi", "2"},
                                  {"Set-Cookie", "session=secret"}},
                      .body = "{\"a\":1}"});
    } else if (path == "/large") {
      responder.Send({.body = std::string((1 << 20) + 1, 'x')});
    } else if (path == "/full") {
      responder.Send({.body = std::string(1 << 20, 'x')});
    } else if (path == "/latin") {
      responder.Send({.body = "caf\xe9"});
    } else if (path == "/loop") {
      responder.Send({.status = 302, .headers = {{"Location", "/loop"}}});
    } else if (path == "/moved") {
      responder.Send({.status = 302, .headers = {{"Location", "/json"}}});
    } else if (path == "/to-private") {
      responder.Send(
          {.status = 302, .headers = {{"Location", "http://169.254.169.254/latest/meta-data"}}});
    } else if (path == "/to-file") {
      responder.Send({.status = 302, .headers = {{"Location", "file:///etc/passwd"}}});
    } else if (path == "/to-name") {
      responder.Send({.status = 307, .headers = {{"Location", Url("/json", "localhost")}}});
    } else {
      responder.Send({.status = path == "/missing"  ? 404
                                : path == "/broken" ? 500
                                                    : 200,
                      .body = "ok"});
    }
  }

  std::mutex mu_;
  std::condition_variable changed_;
  std::map<std::string, int> counts_;
  http::Request last_;
  std::vector<http::Responder> held_;
  std::unique_ptr<http::Server> server_;
};

FetcherOptions Allowed() {
  return {.allowed_networks = {"127.0.0.0/8"}};
}

std::unique_ptr<Fetcher> Make(const FetcherOptions& options) {
  auto fetcher = Fetcher::Create(options);
  REQUIRE(fetcher.ok());
  return *std::move(fetcher);
}

std::future<script::HostAnswer> Start(Fetcher& fetcher, const std::string& url,
                                      const std::string& options = "{}",
                                      const std::string& scope = "w") {
  auto promise = std::make_shared<std::promise<script::HostAnswer>>();
  auto future = promise->get_future();
  fetcher.Fetch("[\"" + url + "\"," + options + "]", scope,
                [promise](script::HostAnswer answer) { promise->set_value(std::move(answer)); });
  return future;
}

std::string Call(Fetcher& fetcher, const std::string& url, const std::string& options = "{}",
                 const std::string& scope = "w") {
  const script::HostAnswer answer = Start(fetcher, url, options, scope).get();
  return answer.failed ? answer.error_name + ": " + answer.text : answer.text;
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

TEST_CASE("Fetcher fetches", "[fetcher]") {
  World world;
  const auto fetcher = Make(Allowed());
  const std::string answer = Call(*fetcher, world.Url("/json"));
  CHECK(Contains(answer, "{\"url\":\"" + world.Url("/json") + "\",\"status\":200,\"headers\":{"));
  CHECK(Contains(answer, "\"content-type\":\"application/json\""));
  CHECK(Contains(answer, "\"x-multi\":\"1, 2\""));
  CHECK(Contains(answer, "\"body\":\"{\\\"a\\\":1}\"}"));
  CHECK(world.last().method == "GET");
  CHECK(Contains(Call(*fetcher, world.Url("/latin")), "\"body\":\"caf\xef\xbf\xbd\""));

  CHECK(Contains(Call(*fetcher, world.Url("/x?y=%20"),
                      R"({"method":"POST","headers":{"X-Key":"k"},"body":{"b":[1.0]}})"),
                 "\"status\":200"));
  const http::Request posted = world.last();
  CHECK(posted.method == "POST");
  CHECK(posted.query == "y=%20");
  CHECK(posted.Header("x-key") == "k");
  CHECK(posted.Header("content-type") == "application/json");
  CHECK(posted.body.view() == "{\"b\":[1.0]}");
  CHECK(Contains(Call(*fetcher, world.Url("/x"), R"({"method":"DELETE"})"), "\"status\":200"));
  CHECK(world.last().method == "DELETE");
}

TEST_CASE("Fetcher carries nothing from one fetch to another", "[fetcher]") {
  World world;
  const auto fetcher = Make(Allowed());
  const std::string with_user = "http://user:pass@127.0.0.1" + world.Url("/json").substr(16);
  Call(*fetcher, with_user, R"({"headers":{"cookie":"mine=1"}})");
  CHECK(world.last().Header("authorization") == "Basic dXNlcjpwYXNz");
  CHECK(world.last().Header("cookie") == "mine=1");
  Call(*fetcher, world.Url("/json"));
  CHECK(world.last().Header("authorization").empty());
  CHECK(world.last().Header("cookie").empty());
}

TEST_CASE("Fetcher refuses addresses that are not public", "[fetcher]") {
  World world;
  const auto fetcher = Make({});
  CHECK(Call(*fetcher, world.Url("/json")) ==
        "Error: blocked request to non-public address: 127.0.0.1");
  CHECK(Call(*fetcher, world.Url("/json", "2130706433")) ==
        "Error: blocked request to non-public address: 127.0.0.1");
  CHECK(Call(*fetcher, world.Url("/json", "localhost")) ==
        "FetchError: request to " + world.Url("/json", "localhost") +
            " failed, reason: cannot use 127.0.0.1 as IP address for "
            "localhost");
  CHECK(Call(*fetcher, "http://[::ffff:127.0.0.1]/") ==
        "Error: blocked request to non-public address: ::ffff:127.0.0.1");
  CHECK(Call(*fetcher, "http://169.254.169.254/latest") ==
        "Error: blocked request to non-public address: 169.254.169.254");
  CHECK(world.Count("/json") == 0);
  CHECK(Fetcher::Create({.allowed_networks = {"x"}}).status().code() ==
        StatusCode::kInvalidArgument);
}

TEST_CASE("Fetcher follows redirects when told so, the guard on each", "[fetcher]") {
  World world;
  const auto fetcher = Make(Allowed());
  const std::string follow = R"({"redirect":"follow","headers":{"authorization":"k"}})";
  CHECK(Contains(Call(*fetcher, world.Url("/moved")), "\"status\":302"));
  CHECK(world.Count("/json") == 0);
  CHECK(Contains(Call(*fetcher, world.Url("/moved"), follow),
                 "{\"url\":\"" + world.Url("/json") + "\",\"status\":200"));
  CHECK(world.last().Header("authorization") == "k");
  CHECK(Contains(Call(*fetcher, world.Url("/to-name"), follow), world.Url("/json", "localhost")));
  CHECK(world.last().Header("authorization").empty());
  CHECK(Call(*fetcher, world.Url("/loop"), follow) ==
        "FetchError: request to " + world.Url("/loop") + " failed, reason: too many redirects");
  CHECK(world.Count("/loop") == 6);
  CHECK(Call(*fetcher, world.Url("/to-private"), follow) ==
        "Error: blocked request to non-public address: 169.254.169.254");
  CHECK(Call(*fetcher, world.Url("/to-file"), follow) ==
        "Error: invalid protocol, only http and https are supported");
  CHECK(Contains(Call(*fetcher, world.Url("/moved"), R"({"redirect":"error"})"),
                 "redirect mode is set to error"));
}

TEST_CASE("Fetcher says why no answer came", "[fetcher]") {
  World world;
  FetcherOptions options = Allowed();
  options.timeout = milliseconds(2'000);
  const auto fetcher = Make(options);
  CHECK(Call(*fetcher, world.Url("/large")) ==
        "FetchError: content size at " + world.Url("/large") + " over limit: 1048576");
  CHECK(Call(*fetcher, world.Url("/full")).size() > 1 << 20);
  CHECK(Contains(Call(*fetcher, "http://127.0.0.1:1/"),
                 "FetchError: request to http://127.0.0.1:1/ failed, reason: "));
  const std::string no_name =
      std::string(64, 'n') + ".invalid";  // too long a label: no server is asked
  CHECK(Call(*fetcher, "http://" + no_name + "/") ==
        "FetchError: request to http://" + no_name +
            "/ failed, reason: unable to resolve IP address for " + no_name);
  CHECK(Call(*fetcher, world.Url("/hold"), R"({"timeout":30})") ==
        "FetchError: network timeout at: " + world.Url("/hold"));
  CHECK(Call(*fetcher, "ftp://a/") == "Error: invalid protocol, only http and https are supported");
}

TEST_CASE("Fetcher lets only so many in at one host, and time waiting counts", "[fetcher]") {
  World world;
  FetcherOptions options = Allowed();
  options.max_in_flight_per_host = 2;
  options.timeout = milliseconds(30'000);
  const auto fetcher = Make(options);
  std::vector<std::future<script::HostAnswer>> held;
  for (int i = 0; i < 4; ++i) held.push_back(Start(*fetcher, world.Url("/hold"), "{}", "greedy"));
  world.WaitHeld(2);
  CHECK(Call(*fetcher, world.Url("/hold"), R"({"timeout":1})", "other") ==
        "FetchError: network timeout at: " + world.Url("/hold"));
  CHECK(Contains(Call(*fetcher, world.Url("/ok", "localhost")), "\"status\":200"));  // another host
  CHECK(world.held() == 2);
  CHECK(world.Release() == 2);
  world.WaitHeld(2);
  CHECK(world.Release() == 2);
  for (auto& answer : held) CHECK(Contains(answer.get().text, "released"));
}

TEST_CASE("Fetcher keeps answers that may be kept, for one workspace", "[fetcher]") {
  World world;
  const auto fetcher = Make(Allowed());
  const std::string cache = R"({"cacheSeconds":60})";
  const std::string first = Call(*fetcher, world.Url("/json"), cache);
  CHECK(Call(*fetcher, world.Url("/json"), cache) == first);
  CHECK(world.Count("/json") == 1);
  Call(*fetcher, world.Url("/json"), R"({"cacheSeconds":60,"headers":{"authorization":"other"}})");
  CHECK(world.Count("/json") == 2);
  Call(*fetcher, world.Url("/json"), cache, "another workspace");
  CHECK(world.Count("/json") == 3);
  Call(*fetcher, world.Url("/json"));
  CHECK(world.Count("/json") == 4);
  for (int i = 0; i < 2; ++i) Call(*fetcher, world.Url("/missing"), cache);
  CHECK(world.Count("/missing") == 1);
  for (int i = 0; i < 2; ++i) Call(*fetcher, world.Url("/broken"), cache);
  CHECK(world.Count("/broken") == 2);
  for (int i = 0; i < 2; ++i)
    Call(*fetcher, world.Url("/p"), R"({"method":"POST","cacheSeconds":60})");
  CHECK(world.Count("/p") == 2);
}

TEST_CASE("Fetcher asks once for what several want to keep", "[fetcher]") {
  World world;
  const auto fetcher = Make(Allowed());
  std::vector<std::future<script::HostAnswer>> answers;
  for (int i = 0; i < 10; ++i)
    answers.push_back(Start(*fetcher, world.Url("/hold"), R"({"cacheSeconds":60})"));
  world.WaitHeld(1);
  CHECK(Contains(Call(*fetcher, world.Url("/ok")),
                 "200"));  // whatever was asked before has been taken in
  CHECK(world.Release() == 1);
  for (auto& answer : answers) CHECK(Contains(answer.get().text, "released"));
  CHECK(world.Count("/hold") == 1);
}

TEST_CASE("Fetcher answers everyone when it ends", "[fetcher]") {
  World world;
  FetcherOptions options = Allowed();
  options.max_in_flight_per_host = 1;
  auto fetcher = Make(options);
  std::vector<std::future<script::HostAnswer>> answers;
  for (int i = 0; i < 3; ++i) answers.push_back(Start(*fetcher, world.Url("/hold")));
  world.WaitHeld(1);
  fetcher.reset();
  for (auto& answer : answers) CHECK(answer.get().text == "fetch: the service is stopping");
}

}  // namespace
}  // namespace millrace::transformation
