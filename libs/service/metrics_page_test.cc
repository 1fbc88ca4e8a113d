#include "libs/service/metrics_page.h"

#include <catch2/catch.hpp>

#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

using namespace millrace;
using millrace::service::MetricsPage;

namespace {

// Takes the answers, and keeps them as clients do that have not read them yet.
class Answers final : public http::Responder::Impl {
 public:
  void Send(http::Response response) override {
    const std::scoped_lock lock(mu_);
    pages_.push_back(response.shared);
    threads_.insert(std::this_thread::get_id());
    came_.notify_all();
  }
  std::shared_ptr<http::StreamWriter> Stream(http::Response) override { return nullptr; }
  Bytes Wait(size_t count) {
    std::unique_lock lock(mu_);
    came_.wait(lock, [&] { return pages_.size() >= count; });
    return pages_.back();
  }
  std::set<const void*> Distinct() {
    const std::scoped_lock lock(mu_);
    std::set<const void*> all;
    for (const Bytes& page : pages_) all.insert(page.owner().get());
    return all;
  }
  bool AnsweredHere() {
    const std::scoped_lock lock(mu_);
    return threads_.count(std::this_thread::get_id()) > 0;
  }

 private:
  std::mutex mu_;
  std::condition_variable came_;
  std::vector<Bytes> pages_;
  std::set<std::thread::id> threads_;
};

}  // namespace

TEST_CASE("/metrics is rendered on a thread of its own", "[service]") {
  telemetry::Metrics metrics;
  std::thread::id rendered_on;
  const auto kept = metrics.OnRender([&] { rendered_on = std::this_thread::get_id(); });
  metrics.GetCounter("millrace_test_total", "Tests.").Add(3);
  const auto answers = std::make_shared<Answers>();
  MetricsPage page(metrics);
  page.Answer(http::Responder(answers));
  CHECK(std::string(answers->Wait(1).view()).find("millrace_test_total 3") != std::string::npos);
  CHECK(rendered_on != std::this_thread::get_id());
  CHECK_FALSE(answers->AnsweredHere());
}

TEST_CASE("Clients that do not read their page hold few of them in memory", "[service]") {
  telemetry::Metrics metrics;
  auto& gauge = metrics.GetGauge("millrace_test_round", "Round.");
  const auto answers = std::make_shared<Answers>();
  MetricsPage page(metrics);
  for (size_t i = 1; i <= 200; ++i) {
    gauge.Set(static_cast<double>(i));
    page.Answer(http::Responder(answers));
    answers->Wait(i);
  }
  CHECK(answers->Distinct().size() <= 5);
}
