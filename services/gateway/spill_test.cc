#include "services/gateway/spill.h"

#include <catch2/catch.hpp>

#include <atomic>
#include <fstream>
#include <future>
#include <iterator>
#include <set>

#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"
#include "libs/testing/memory_log.h"
#include "millrace/event/v1/event.pb.h"

using namespace millrace;
using event_log::TopicRecord;
using gateway::SpillAppender;
using std::chrono::milliseconds;

namespace {

TopicRecord Event(std::string_view key, std::string_view value) {
  return {event_log::kIngestTopic, {.key = key, .value = value}};
}

// The appender before a log in memory that can be away, with a spill on disk.
class Fixture {
 public:
  explicit Fixture(uint64_t quota = 64 << 20) : quota_(quota) {
    REQUIRE(log.EnsureTopic("ingest", {}).ok());
    Open();
  }
  void Open() {
    auto spill = event_log::OpenLocalLog(
        {.path = folder.path(), .quota_bytes = quota_, .segment_bytes = 1 << 20});
    REQUIRE(spill.ok());
    auto made = SpillAppender::Create(
        [this] {
          ++connected;
          return log.NewAppender();
        },
        *std::move(spill), metrics, SystemClock(),
        {.patience = milliseconds(50), .retry = milliseconds(5)});
    REQUIRE(made.ok());
    appender = *std::move(made);
  }
  std::future<Status> Begin(std::string_view key, std::string_view value) {
    auto promise = std::make_shared<std::promise<Status>>();
    const TopicRecord record = Event(key, value);
    appender->Append(std::span(&record, 1),
                     [promise](Status status) { promise->set_value(std::move(status)); });
    return promise->get_future();
  }
  Status Append(std::string_view key, std::string_view value) { return Begin(key, value).get(); }
  std::vector<std::string> Values() const {
    std::vector<std::string> values;
    for (const auto& record : log.records()) values.push_back(record.value);
    return values;
  }
  void AwaitValues(const std::vector<std::string>& wanted) const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (Values().size() < wanted.size() && std::chrono::steady_clock::now() < deadline)
      std::this_thread::yield();
    CHECK(Values() == wanted);
  }

  event_log::TestFolder folder;
  testing::MemoryLog log;
  telemetry::Metrics metrics;
  std::atomic<int> connected = 0;
  std::unique_ptr<SpillAppender> appender;

 private:
  const uint64_t quota_;
};

const Status kAway = MakeStatus(StatusCode::kUnavailable, "away");

}  // namespace

TEST_CASE("While the log is there nothing is spilled", "[spill]") {
  Fixture f;
  CHECK(f.Append("u", "1").ok());
  CHECK(f.Values() == std::vector<std::string>{"1"});
  CHECK(f.appender->waiting() == 0);
}

TEST_CASE("While the log is away events are kept, and moved in order before newer ones",
          "[spill]") {
  Fixture f;
  CHECK(f.Append("u", "1").ok());
  f.log.FailWith(kAway);
  for (const char* value : {"2", "3", "4"}) CHECK(f.Append("u", value).ok());
  CHECK(f.Values() == std::vector<std::string>{"1"});
  CHECK(f.appender->waiting() == 3);
  auto held = f.Begin("u", "5");  // kept, or held while the end of the spill is tried
  f.log.FailWith(OkStatus());
  CHECK(held.get().ok());
  CHECK(f.Append("u", "6").ok());
  f.AwaitValues({"1", "2", "3", "4", "5", "6"});
}

TEST_CASE("A log that does not answer counts as away; what it was given stays ahead", "[spill]") {
  Fixture f;
  f.log.Hold();
  auto first = f.Begin("u", "1");
  while (!f.appender->spilling()) std::this_thread::yield();
  CHECK(f.Append("u", "2").ok());
  CHECK(f.Values() == std::vector<std::string>{"1"});  // given, not answered
  CHECK(first.wait_for(milliseconds(0)) == std::future_status::timeout);
  f.log.Release();
  CHECK(first.get().ok());
  f.AwaitValues({"1", "2"});
}

TEST_CASE("What an earlier run has left is moved first", "[spill]") {
  Fixture f;
  f.log.FailWith(kAway);
  for (const char* value : {"1", "2", "3"}) CHECK(f.Append("u", value).ok());
  f.appender.reset();
  CHECK(f.Values().empty());
  f.log.FailWith(OkStatus());
  f.Open();
  CHECK(f.Append("u", "4").ok());
  f.AwaitValues({"1", "2", "3", "4"});
  f.appender.reset();
  f.Open();  // and only once
  CHECK(f.Append("u", "5").ok());
  CHECK(f.Values() == std::vector<std::string>{"1", "2", "3", "4", "5"});
}

TEST_CASE("What was kept and never moved is not old to the spill's log", "[spill]") {
  Fixture f;
  f.log.FailWith(kAway);
  CHECK(f.Append("u", "1").ok());
  f.appender.reset();
  const auto spill = event_log::OpenLocalLog({.path = f.folder.path()});
  REQUIRE(spill.ok());
  const auto committed = (*spill)->Committed("spill", "ingest");
  REQUIRE(committed.ok());
  CHECK(committed->at(0).offset == 0);
}

TEST_CASE("A full spill refuses, and is moved when the log is back", "[spill]") {
  Fixture f(4 << 20);
  f.log.FailWith(kAway);
  const std::string value(100'000, 'x');
  size_t kept = 0;
  Status status;
  for (; kept < 1000; ++kept) {
    status = f.Append("u", value);
    if (!status.ok()) break;
  }
  CHECK(status.code() == StatusCode::kResourceExhausted);
  CHECK(kept > 5);
  f.log.FailWith(OkStatus());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (f.appender->waiting() > 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  CHECK(f.Values().size() == kept);
  CHECK(f.Append("u", "more").ok());
}

TEST_CASE("A spill that was full and moved takes events when the log goes away again", "[spill]") {
  Fixture f(4 << 20);
  f.log.FailWith(kAway);
  const std::string value(100'000, 'x');
  size_t kept = 0;
  while (kept < 1000 && f.Append("u", value).ok()) ++kept;
  f.log.FailWith(OkStatus());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (f.appender->waiting() > 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  CHECK(f.Append("u", "more").ok());
  f.log.FailWith(kAway);  // the room is free again
  for (size_t i = 0; i < kept / 2; ++i) {
    CAPTURE(i, kept);
    const Status status = f.Append("u", value);
    INFO(Message(status));
    REQUIRE(status.ok());
  }
}

TEST_CASE("What the disk of a spill has lost holds up nothing", "[spill]") {
  Fixture f;
  f.log.FailWith(kAway);
  for (int i = 0; i < 15; ++i) {
    CHECK(f.Append("u", "event " + std::to_string(i) + std::string(100'000, 'x')).ok());
  }
  f.appender.reset();
  {
    std::fstream file(f.folder.path() + "/00000001.journal",
                      std::ios::binary | std::ios::in | std::ios::out);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    const size_t at = bytes.find("event 5");
    REQUIRE(at != std::string::npos);
    file.seekp(static_cast<std::streamoff>(at));
    file << 'X';
  }
  f.log.FailWith(OkStatus());
  f.Open();
  auto later = f.Begin("u", "later");
  REQUIRE(later.wait_for(std::chrono::seconds(20)) == std::future_status::ready);
  CHECK(later.get().ok());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (f.appender->waiting() > 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  CHECK(f.appender->waiting() == 0);
  CHECK(f.Append("u", "last").ok());
  CHECK(f.Values().back() == "last");
  CHECK(f.Values().size() < 15);
}

TEST_CASE("A producer that is of no more use is replaced", "[spill]") {
  Fixture f;
  f.log.FailWith(MakeStatus(StatusCode::kFailedPrecondition, "fatal"));
  CHECK(f.Append("u", "1").ok());
  while (f.connected < 2) std::this_thread::yield();
  f.log.FailWith(OkStatus());
  f.AwaitValues({"1"});
}

TEST_CASE("A producer that is replaced is there until the last call to it has returned",
          "[spill]") {
  struct Fate {
    std::atomic<bool> taken = false;  // by the second producer, so the first one has been replaced
    std::atomic<bool> inside = false;
    std::atomic<bool> destroyed_inside = false;
  } fate;
  // Answers from another thread, as producers do, before Append has returned.
  class Slow final : public event_log::Appender {
   public:
    explicit Slow(Fate& fate) : fate_(fate) {}
    ~Slow() override { fate_.destroyed_inside = fate_.inside.load(); }
    void Append(std::span<const TopicRecord>, event_log::Done done) override {
      Fate& fate = fate_;
      if (calls_++ > 0) return done(MakeStatus(StatusCode::kFailedPrecondition, "fatal"));
      fate.inside = true;
      std::thread([&done] { done(MakeStatus(StatusCode::kFailedPrecondition, "fatal")); }).join();
      while (!fate.taken) std::this_thread::yield();
      fate.inside = false;
    }

   private:
    Fate& fate_;
    std::atomic<int> calls_ = 0;
  };
  class Good final : public event_log::Appender {
   public:
    explicit Good(Fate& fate) : fate_(fate) {}
    void Append(std::span<const TopicRecord>, event_log::Done done) override {
      fate_.taken = true;
      done(OkStatus());
    }

   private:
    Fate& fate_;
  };
  event_log::TestFolder folder;
  telemetry::Metrics metrics;
  auto spill = event_log::OpenLocalLog({.path = folder.path()});
  REQUIRE(spill.ok());
  int made = 0;
  auto appender = SpillAppender::Create(
      [&]() -> StatusOr<std::unique_ptr<event_log::Appender>> {
        if (made++ == 0) return std::make_unique<Slow>(fate);
        return std::make_unique<Good>(fate);
      },
      *std::move(spill), metrics, SystemClock(),
      {.patience = milliseconds(50), .retry = milliseconds(5)});
  REQUIRE(appender.ok());
  const TopicRecord record = Event("u", "1");
  std::promise<Status> answer;
  (*appender)->Append(std::span(&record, 1),
                      [&](Status status) { answer.set_value(std::move(status)); });
  CHECK(answer.get_future().get().ok());
  CHECK(!fate.destroyed_inside);
}

TEST_CASE("An event that the log never takes goes to the dead letters and holds up nothing",
          "[spill]") {
  // Refuses records without a reason why they were rejected, as long as it is told to.
  class Picky final : public event_log::Appender {
   public:
    Picky(std::unique_ptr<event_log::Appender> next, std::atomic<bool>& away)
        : next_(std::move(next)), away_(away) {}
    void Append(std::span<const TopicRecord> records, event_log::Done done) override {
      if (away_) return done(kAway);
      for (const TopicRecord& one : records) {
        event::v1::EventMeta meta;
        meta.ParseFromArray(one.record.meta.data(), static_cast<int>(one.record.meta.size()));
        if (one.record.value == "huge" && meta.rejected_reason().empty()) {
          return done(MakeStatus(StatusCode::kInvalidArgument, "too large"));
        }
      }
      next_->Append(records, std::move(done));
    }

   private:
    std::unique_ptr<event_log::Appender> next_;
    std::atomic<bool>& away_;
  };
  event_log::TestFolder folder;
  testing::MemoryLog log;
  REQUIRE(log.EnsureTopic("ingest", {}).ok());
  telemetry::Metrics metrics;
  std::atomic<bool> away = true;
  auto spill = event_log::OpenLocalLog({.path = folder.path()});
  REQUIRE(spill.ok());
  auto made = SpillAppender::Create(
      [&]() -> StatusOr<std::unique_ptr<event_log::Appender>> {
        auto next = log.NewAppender();
        return std::make_unique<Picky>(*std::move(next), away);
      },
      *std::move(spill), metrics, SystemClock(),
      {.patience = milliseconds(50), .retry = milliseconds(5)});
  REQUIRE(made.ok());
  const std::vector<TopicRecord> records = {Event("u", "1"), Event("u", "huge"), Event("u", "2")};
  std::promise<Status> answer;
  (*made)->Append(records, [&](Status status) { answer.set_value(std::move(status)); });
  CHECK(answer.get_future().get().ok());
  away = false;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while ((*made)->waiting() > 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  const auto stored = log.records();
  REQUIRE(stored.size() == 3);
  event::v1::EventMeta meta;
  REQUIRE(meta.ParseFromString(stored[1].meta));
  CHECK(meta.rejected_reason() == "event is larger than the log takes");
  CHECK(stored[2].value == "2");
}

TEST_CASE("Senders that wait for their answers keep their order while the log comes and goes",
          "[spill]") {
  Fixture f;
  constexpr int kSenders = 4, kEach = 300;
  std::atomic<bool> done = false;
  std::thread weather([&] {
    for (int i = 0; !done; ++i) {
      switch (i % 4) {
        case 0:
          f.log.FailWith(kAway);
          break;
        case 1:
          f.log.FailWith(OkStatus());
          break;
        case 2:
          f.log.Hold();
          break;
        default:
          f.log.Release();
      }
      std::this_thread::sleep_for(milliseconds(7));  // the weather's own pace
    }
    f.log.FailWith(OkStatus());
    f.log.Release();
  });
  std::vector<std::thread> senders;
  for (int sender = 0; sender < kSenders; ++sender) {
    senders.emplace_back([&f, sender] {
      const std::string key = "u" + std::to_string(sender);
      for (int i = 0; i < kEach; ++i) {
        while (!f.Append(key, std::to_string(i)).ok()) {
        }
      }
    });
  }
  for (std::thread& sender : senders) sender.join();
  done = true;
  weather.join();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (f.appender->waiting() > 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  std::map<std::string, int> next;
  for (const auto& record : f.log.records()) {
    const int number = std::stoi(record.value);
    CHECK(number <= next[record.key]);  // a repetition is allowed, a gap is not
    next[record.key] = std::max(next[record.key], number + 1);
  }
  for (int sender = 0; sender < kSenders; ++sender)
    CHECK(next["u" + std::to_string(sender)] == kEach);
}
