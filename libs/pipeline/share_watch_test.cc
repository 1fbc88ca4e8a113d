#include "libs/pipeline/share_watch.h"

#include <catch2/catch.hpp>

#include <memory>
#include <string>

#include "libs/testing/memory_log.h"

namespace millrace::pipeline {
namespace {

class FixedSource final : public config::ConfigSource {
 public:
  config::WorkspacePtr Current() const override { return workspace; }
  std::shared_ptr<void> Subscribe(std::function<void(config::WorkspacePtr)> /*each*/) override {
    return nullptr;
  }
  config::WorkspacePtr workspace;
};

struct Fixture {
  Fixture() { HasDestinations({"a"}); }
  void HasDestinations(const std::vector<std::string>& ids) {
    auto workspace = std::make_shared<config::v1::Workspace>();
    for (const std::string& id : ids) workspace->add_destinations()->set_id(id);
    source.workspace = std::move(workspace);
  }
  void Uses(uint64_t bytes) {
    log.SetUsage({.quota_bytes = 400, .used_bytes = bytes, .topics = {{"destination.a", bytes}}});
    REQUIRE(watch.Look().ok());
  }

  testing::MemoryLog log;
  FixedSource source;
  telemetry::Metrics metrics;
  ShareWatch watch{{}, log, source, metrics};
};

TEST_CASE("each step of a share is told of once, and again when it was left", "[shares]") {
  Fixture f;  // the share is 100
  struct Look {
    uint64_t bytes;
    int step;
  };
  for (const Look& look :
       {Look{49, 0}, Look{50, 50}, Look{45, 50}, Look{52, 50}, Look{40, 0}, Look{85, 80},
        Look{71, 80}, Look{70, 50}, Look{100, 100}, Look{95, 100}, Look{90, 80}, Look{10, 0}}) {
    CAPTURE(look.bytes);
    f.Uses(look.bytes);
    CHECK(f.watch.Step("a") == look.step);
  }
}

TEST_CASE("the gauges show what a destination uses and go with it", "[shares]") {
  Fixture f;
  f.Uses(60);
  CHECK(f.metrics.Render().find("millrace_destination_share_bytes{destination=\"a\"} 60") !=
        std::string::npos);
  CHECK(f.metrics.Render().find("millrace_destination_share_limit_bytes{destination=\"a\"} 100") !=
        std::string::npos);
  f.HasDestinations({});
  f.Uses(60);
  CHECK(f.metrics.Render().find("destination=\"a\"") == std::string::npos);
}

TEST_CASE("the newest evaluation is handed out; before the first there is an empty one",
          "[shares]") {
  Fixture f;
  REQUIRE(f.watch.Current() != nullptr);
  CHECK(f.watch.Current()->Find("a") == nullptr);
  f.Uses(60);
  const auto first = f.watch.Current();
  f.Uses(120);
  CHECK(first->Find("a")->bytes_to_give_up == 0);
  CHECK(f.watch.Current()->Find("a")->bytes_to_give_up == 30);
  CHECK(f.watch.Current()->sequence == first->sequence + 1);
}

TEST_CASE("without a workspace yet there is nothing to say", "[shares]") {
  Fixture f;
  f.source.workspace = nullptr;
  CHECK(f.watch.Look().ok());
  CHECK(f.watch.Current()->sequence == 0);
}

TEST_CASE("a started watch looks by itself and stops when told", "[shares]") {
  Fixture f;
  f.log.SetUsage({.quota_bytes = 400, .used_bytes = 0, .topics = {{"destination.a", 60}}});
  ShareWatch watch({}, f.log, f.source, f.metrics, std::chrono::milliseconds(1));
  watch.Start();
  while (watch.Current()->sequence < 2) std::this_thread::yield();
  watch.Stop();
  CHECK(watch.Current()->Find("a")->bytes == 60);
}

}  // namespace
}  // namespace millrace::pipeline
