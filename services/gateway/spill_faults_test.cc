// The spill's disk runs full; and what the numbers of records (SequencedAppender) become in a
// spill.

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "libs/event_log/local/io.h"
#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"
#include "libs/testing/memory_log.h"
#include "millrace/event/v1/event.pb.h"
#include "services/gateway/sequenced_appender.h"
#include "services/gateway/spill.h"

using namespace millrace;
using event_log::TopicRecord;
using gateway::SequencedAppender;
using gateway::SpillAppender;
using std::chrono::milliseconds;

namespace {

// A disk that is full when it is told to be.
class Disk final : public event_log::Io {
 public:
  std::atomic<bool> full{false};

  StatusOr<int> Open(const std::string& path) override { return system_.Open(path); }
  Status Allocate(int fd, uint64_t bytes) override {
    return full ? Full() : system_.Allocate(fd, bytes);
  }
  Status Write(int fd, std::string_view data, uint64_t position) override {
    return full ? Full() : system_.Write(fd, data, position);
  }
  Status Sync(int fd) override { return full ? Full() : system_.Sync(fd); }
  uint64_t FreeBytes(const std::string& folder) override {
    return full ? 0 : system_.FreeBytes(folder);
  }

 private:
  static Status Full() { return MakeStatus(StatusCode::kUnavailable, "no space left on device"); }
  event_log::Io& system_ = event_log::SystemIo();
};

// A gateway's appender before a log that can be away, with a spill on `disk`.
class Fixture {
 public:
  Fixture() {
    REQUIRE(log.EnsureTopic("ingest", {}).ok());
    auto spill = event_log::OpenLocalLog(
        {.path = folder.path(), .quota_bytes = 64 << 20, .segment_bytes = 1 << 20, .io = &disk});
    REQUIRE(spill.ok());
    auto made = SpillAppender::Create([this] { return log.NewAppender(); }, *std::move(spill),
                                      metrics, SystemClock(),
                                      {.patience = milliseconds(50), .retry = milliseconds(5)});
    REQUIRE(made.ok());
    appender = std::make_unique<SequencedAppender>(
        *std::move(made),
        SequencedAppender::Options{.gateway = "g", .started_at_us = 1, .partitions = 1});
  }
  Status Append(std::string_view value) {
    std::promise<Status> answer;
    const TopicRecord record{event_log::kIngestTopic, {.key = "u", .value = value}};
    appender->Append(std::span(&record, 1), [&](Status status) { answer.set_value(status); });
    return answer.get_future().get();
  }
  std::vector<event::v1::EventMeta> AwaitMetas(size_t count) const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (log.records().size() < count && std::chrono::steady_clock::now() < deadline)
      std::this_thread::yield();
    std::vector<event::v1::EventMeta> metas;
    for (const auto& one : log.records()) REQUIRE(metas.emplace_back().ParseFromString(one.meta));
    return metas;
  }

  Disk disk;
  event_log::TestFolder folder;
  testing::MemoryLog log;
  telemetry::Metrics metrics;
  std::unique_ptr<SequencedAppender> appender;
};

const Status kAway = MakeStatus(StatusCode::kUnavailable, "away");

}  // namespace

TEST_CASE("A spill whose disk is full refuses, and takes events when there is room again",
          "[spill]") {
  Fixture f;
  f.log.FailWith(kAway);
  std::vector<std::string> taken;
  const auto append = [&](const std::string& value) {
    const bool ok = f.Append(value).ok();
    if (ok) taken.push_back(value);
    return ok;
  };
  CHECK(append("before"));
  f.disk.full = true;
  CHECK_FALSE(append("refused"));
  CHECK_FALSE(append("refused too"));
  f.disk.full = false;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!append("after") && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(milliseconds(10));
  CHECK(append("last"));
  f.log.FailWith(OkStatus());
  const auto metas = f.AwaitMetas(taken.size());
  // What was acknowledged is there; what was refused may be, too.
  std::vector<std::string> values;
  for (const auto& one : f.log.records()) values.push_back(one.value);
  for (const std::string& value : taken) {
    CHECK(std::count(values.begin(), values.end(), value) >= 1);
  }
  CHECK(taken.size() == 3);
}

TEST_CASE("Records keep their numbers through the spill", "[spill][sequence]") {
  Fixture f;
  CHECK(f.Append("1").ok());
  f.log.FailWith(kAway);
  for (const char* value : {"2", "3", "4"}) CHECK(f.Append(value).ok());
  f.log.FailWith(OkStatus());
  CHECK(f.Append("5").ok());
  const auto metas = f.AwaitMetas(5);
  REQUIRE(metas.size() == 5);
  for (size_t i = 0; i < metas.size(); ++i) {
    CHECK(metas[i].gateway_sequence() == i + 1);
    CHECK(metas[i].gateway_refused() + metas[i].gateway_unknown() == 0);
  }
}
