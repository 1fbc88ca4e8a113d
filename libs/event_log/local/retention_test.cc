#include <catch2/catch.hpp>

#include <atomic>
#include <filesystem>
#include <thread>

#include "libs/event_log/contract/contract.h"
#include "libs/event_log/local/test_log.h"

namespace millrace::event_log {
namespace {

using Strings = std::vector<std::string>;
using std::chrono::hours;

int64_t Begin(EventLog& log, const std::string& topic) {
  const auto info = log.Describe(topic);
  REQUIRE(info.ok());
  return info->at(0).begin_offset;
}

void FillMany(EventLog& log, const std::string& topic, int records) {
  for (int i = 0; i < records; ++i) {
    contract::Fill(log, topic, 0, {std::to_string(i) + std::string(4000, 'z')});
  }
}

class GroupReader {
 public:
  GroupReader(EventLog& log, const std::string& topic) : topic_(topic) {
    auto consumer = log.NewConsumer({.group = "g"});
    REQUIRE(consumer.ok());
    consumer_ = *std::move(consumer);
    REQUIRE(consumer_->Subscribe({topic}).ok());
    REQUIRE(consumer_->Poll({.max_records = 1, .timeout = std::chrono::milliseconds(0)}).ok());
  }
  void Commit(int64_t offset) {
    REQUIRE(consumer_->Commit(std::vector<CommittedOffset>{{{topic_, 0}, offset, ""}}).ok());
  }

 private:
  const std::string topic_;
  std::unique_ptr<Consumer> consumer_;
};

size_t Files(const std::string& folder) {
  size_t files = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    files += file.path().extension() == ".journal" ? 1 : 0;
  }
  return files;
}

TEST_CASE("old records go once every group has read them, and not before", "[local_log]") {
  TestFolder folder;
  SharedClock clock;
  const auto log = Open({.path = folder.path(), .segment_bytes = 64 << 10, .clock = &clock});
  REQUIRE(log->EnsureTopic("t", {.retention = hours(1)}).ok());
  FillMany(*log, "t", 100);
  GroupReader reader(*log, "t");
  reader.Commit(40);
  clock.Advance(hours(2));
  FillMany(*log, "t", 40);
  CHECK(Begin(*log, "t") > 0);
  CHECK(Begin(*log, "t") <= 40);
  reader.Commit(100);
  FillMany(*log, "t", 40);
  CHECK(Begin(*log, "t") > 40);
  CHECK(Begin(*log, "t") <= 100);
}

TEST_CASE("old records stay for a group that has subscribed and not read yet", "[local_log]") {
  TestFolder folder;
  SharedClock clock;
  const auto log = Open({.path = folder.path(), .segment_bytes = 64 << 10, .clock = &clock});
  REQUIRE(log->EnsureTopic("t", {.retention = hours(1)}).ok());
  const auto consumer = *log->NewConsumer({.group = "g"});
  REQUIRE(consumer->Subscribe({"t"}).ok());
  FillMany(*log, "t", 100);
  clock.Advance(hours(2));
  FillMany(*log, "t", 40);
  CHECK(Begin(*log, "t") == 0);
}

TEST_CASE("old records stay for a group that had begun to read before a restart", "[local_log]") {
  TestFolder folder;
  SharedClock clock;
  const LocalLogOptions options{.path = folder.path(), .segment_bytes = 64 << 10, .clock = &clock};
  {
    const auto log = Open(options);
    REQUIRE(log->EnsureTopic("t", {.retention = hours(1)}).ok());
    const GroupReader reader(*log, "t");
    FillMany(*log, "t", 100);
  }
  clock.Advance(hours(2));
  const auto log = Open(options);
  CHECK(log->Committed("g", "t")->at(0).offset == -1);
  FillMany(*log, "t", 40);
  CHECK(Begin(*log, "t") == 0);
}

TEST_CASE("a few live records do not pin a file", "[local_log]") {
  TestFolder folder;
  SharedClock clock;
  const LocalLogOptions options{.path = folder.path(), .segment_bytes = 64 << 10, .clock = &clock};
  {
    const auto log = Open(options);
    REQUIRE(log->EnsureTopic("rare", {.retention = hours(1000)}).ok());
    REQUIRE(log->EnsureTopic("busy", {.retention = hours(1)}).ok());
    for (int i = 0; i < 20; ++i) {
      contract::Fill(*log, "rare", 0, {std::to_string(i)});
      FillMany(*log, "busy", 20);
      clock.Advance(hours(2));
    }
    CHECK(Files(folder.path()) < 8);
  }
  const auto log = Open(options);
  Strings expected;
  for (int i = 0; i < 20; ++i) expected.push_back(std::to_string(i));
  CHECK(contract::Values(contract::ReadRecords(*contract::ReaderOf(*log, "rare"), 20)) == expected);
}

TEST_CASE("records that were moved grow old all the same", "[local_log]") {
  TestFolder folder;
  SharedClock clock;
  const LocalLogOptions options{.path = folder.path(), .segment_bytes = 64 << 10, .clock = &clock};
  auto log = Open(options);
  REQUIRE(log->EnsureTopic("rare", {.retention = hours(3)}).ok());
  REQUIRE(log->EnsureTopic("busy", {.retention = hours(1)}).ok());
  const bool reopened = GENERATE(false, true);
  for (int i = 0; i < 20; ++i) {
    contract::Fill(*log, "rare", 0, {std::to_string(i)});
    FillMany(*log, "busy", 20);
    clock.Advance(hours(2));
    if (!reopened) continue;
    log.reset();
    log = Open(options);
  }
  CHECK(Begin(*log, "rare") >= 15);
  CHECK(Begin(*log, "rare") < 20);
}

TEST_CASE("the quota holds, and reading frees it", "[local_log]") {
  TestFolder folder;
  const auto log =
      Open({.path = folder.path(), .quota_bytes = 1 << 20, .segment_bytes = 128 << 10});
  REQUIRE(log->EnsureTopic("t", {}).ok());
  GroupReader reader(*log, "t");
  const std::string value(4000, 'q');
  const auto append = [&] {
    return contract::AppendAll(*log, {{"t", {.value = value, .partition = 0}}});
  };
  int64_t appended = 0;
  Status status = append();
  for (; status.ok() && appended < 1000; status = append()) ++appended;
  CHECK(status.code() == StatusCode::kResourceExhausted);
  CHECK(appended > 100);  // half of the quota is for what works off what is there
  CHECK(Begin(*log, "t") == 0);
  reader.Commit(appended);  // also when full
  for (int i = 0; i < 10'000 && !status.ok(); ++i) status = append();
  INFO(Message(status));
  REQUIRE(status.ok());
  CHECK(Begin(*log, "t") > 0);
  for (int i = 0; i < 30; ++i) CHECK(append().ok());
}

TEST_CASE("a full log is free again once it is read, whatever small records lie between",
          "[local_log]") {
  TestFolder folder;
  LocalLogOptions options{
      .path = folder.path(), .quota_bytes = 2 << 20, .segment_bytes = 128 << 10};
  std::unique_ptr<EventLog> log = Open(options);
  for (const char* topic : {"in", "kept"}) REQUIRE(log->EnsureTopic(topic, {}).ok());
  const std::string value(4000, 'q');
  const auto append = [&] {
    return contract::AppendAll(
        *log, {{"in", {.value = value, .partition = 0}},
               {"kept", {.value = "a record that no group reads", .partition = 0}}});
  };
  int64_t appended = 0;
  const bool reopened = GENERATE(false, true);
  CAPTURE(reopened);
  for (int cycle = 0; cycle < 5; ++cycle) {
    CAPTURE(cycle);
    Status status = append();
    for (; status.ok(); status = append()) ++appended;
    REQUIRE(status.code() == StatusCode::kResourceExhausted);
    {
      GroupReader reader(*log, "in");
      reader.Commit(appended);
    }
    if (reopened) {
      log.reset();
      log = Open(options);
    }
    const int64_t before = appended;
    for (int i = 0; i < 10'000 && appended < before + 100; ++i) appended += append().ok() ? 1 : 0;
    REQUIRE(appended == before + 100);
  }
}

TEST_CASE("a full log is free again although its first record was moved into the newest file",
          "[local_log]") {
  TestFolder folder;
  const auto log =
      Open({.path = folder.path(), .quota_bytes = 4 << 20, .segment_bytes = 256 << 10});
  REQUIRE(log->EnsureTopic("t", {}).ok());
  GroupReader reader(*log, "t");
  const std::string value(100'000, 'q');
  const auto append = [&] {
    return contract::AppendAll(*log, {{"t", {.value = value, .partition = 0}}});
  };
  int64_t appended = 0;
  while (append().ok()) ++appended;
  reader.Commit(1);  // what is left of its file is little enough to be moved
  CHECK(append().code() == StatusCode::kResourceExhausted);
  reader.Commit(appended);
  Status status;
  for (int i = 0; i < appended / 2 && status.ok(); ++i) status = append();
  INFO(Message(status));
  CHECK(status.ok());
}

TEST_CASE("a reader of a log that is often full misses nothing", "[local_log]") {
  TestFolder folder;
  const auto log =
      Open({.path = folder.path(), .quota_bytes = 4 << 20, .segment_bytes = 256 << 10});
  REQUIRE(log->EnsureTopic("t", {.retention = std::chrono::milliseconds(1)}).ok());
  constexpr int64_t kRecords = 2000;
  std::jthread writer([&log] {
    const std::string value(100'000, 'q');
    for (int64_t appended = 0; appended < kRecords;) {
      const TopicRecord record{"t", {.value = value, .partition = 0}};
      appended += contract::AppendAll(*log, {record}).ok() ? 1 : 0;
    }
  });
  const auto consumer = *log->NewConsumer({.group = "g"});
  REQUIRE(consumer->Subscribe({"t"}).ok());
  int64_t next = 0;
  while (next < kRecords) {
    const auto batch = consumer->Poll(
        {.max_records = 1000, .max_bytes = 1 << 20, .timeout = std::chrono::seconds(20)});
    REQUIRE(batch.ok());
    REQUIRE(!batch->records.empty());
    for (const auto& record : batch->records) REQUIRE(record.offset == next++);
    const CommittedOffset offset{{"t", 0}, next, ""};
    REQUIRE(consumer->Commit({&offset, 1}).ok());
  }
}

TEST_CASE("a log that takes no new records has room to work off those that it has", "[local_log]") {
  TestFolder folder;
  const auto log = Open({.path = folder.path(),
                         .quota_bytes = 2 << 20,
                         .segment_bytes = 128 << 10,
                         .closing_topics = {"done"}});
  for (const char* topic : {"in", "out", "done"}) REQUIRE(log->EnsureTopic(topic, {}).ok());
  const std::string value(4000, 'q');
  const auto append = [&](std::string_view topic) {
    return contract::AppendAll(*log, {{topic, {.value = value, .partition = 0}}}).code();
  };
  const auto transaction = *log->NewTransaction("worker");
  const auto move = [&](std::string_view topic) {
    REQUIRE(transaction->Begin().ok());
    const event_log::TopicRecord record{topic, {.value = value, .partition = 0}};
    REQUIRE(transaction->Append({&record, 1}).ok());
    return transaction->Commit().code();
  };
  const auto fill = [](const auto& write) {
    int written = 0;
    while (written < 1000 && write() == StatusCode::kOk) ++written;
    return written;
  };
  CHECK(fill([&] { return append("in"); }) > 150);
  CHECK(append("in") == StatusCode::kResourceExhausted);
  CHECK(fill([&] { return move("out"); }) > 50);
  CHECK(append("in") == StatusCode::kResourceExhausted);
  CHECK(append("done") == StatusCode::kOk);
  CHECK(fill([&] { return move("done"); }) > 50);
  CHECK(append("done") == StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace millrace::event_log
