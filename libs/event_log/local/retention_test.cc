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
  GroupReader(EventLog& log, const std::string& topic, const std::string& group = "g")
      : topic_(topic) {
    auto consumer = log.NewConsumer({.group = group});
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

TEST_CASE("records go once their readers have read them, and not before", "[local_log]") {
  TestFolder folder;
  SharedClock clock;
  const auto log = Open({.path = folder.path(), .segment_bytes = 64 << 10, .clock = &clock});
  REQUIRE(log->EnsureTopic("t", {.retention = hours(1), .readers = {"g", "late"}}).ok());
  FillMany(*log, "t", 100);
  GroupReader reader(*log, "t");
  GroupReader stranger(*log, "t", "stranger");  // holds nothing back
  clock.Advance(hours(2000));
  reader.Commit(100);
  FillMany(*log, "t", 40);
  CHECK(Begin(*log, "t") == 0);  // nobody of "late" has come yet
  GroupReader late(*log, "t", "late");
  late.Commit(40);
  CHECK(Begin(*log, "t") == 40);
  late.Commit(100);
  CHECK(Begin(*log, "t") == 100);
  REQUIRE(log->EnsureTopic("t", {.readers = {"g"}}).ok());
  reader.Commit(120);
  CHECK(Begin(*log, "t") == 120);
}

TEST_CASE("after a start nothing goes before a topic's readers are named, then what is read",
          "[local_log]") {
  TestFolder folder;
  SharedClock clock;
  const LocalLogOptions options{.path = folder.path(), .segment_bytes = 64 << 10, .clock = &clock};
  {
    const auto log = Open(options);
    REQUIRE(log->EnsureTopic("t", {.readers = {"g"}}).ok());
    FillMany(*log, "t", 100);
  }
  clock.Advance(hours(2000));
  const auto log = Open(options);
  GroupReader reader(*log, "t");
  reader.Commit(60);
  FillMany(*log, "t", 40);
  CHECK(Begin(*log, "t") == 0);
  REQUIRE(log->EnsureTopic("t", {.readers = {"g"}}).ok());
  CHECK(Begin(*log, "t") == 60);
}

/// Waits for what the log does by itself.
template <typename Done>
bool Eventually(Done done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

uint64_t DiskOf(const std::string& folder) {
  uint64_t bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    std::error_code gone;  // the log may remove it just now
    const uint64_t size = file.file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

TEST_CASE("an idle log gives the disk back of what is deleted, trimmed, read or old",
          "[local_log]") {
  TestFolder folder;
  SharedClock clock;
  const auto log = Open({.path = folder.path(),
                         .segment_bytes = 1 << 20,
                         .maintenance_interval = std::chrono::milliseconds(5),
                         .clock = &clock});
  REQUIRE(log->EnsureTopic("t", {.retention = hours(1), .readers = {}}).ok());
  REQUIRE(log->EnsureTopic("kept", {}).ok());
  contract::Fill(*log, "kept", 0, {"kept"});
  const std::string how = GENERATE("deleted", "trimmed", "read", "old");
  CAPTURE(how);
  if (how == "read") REQUIRE(log->EnsureTopic("t", {.readers = {"g"}}).ok());
  FillMany(*log, "t", 1500);
  REQUIRE(DiskOf(folder.path()) > (5 << 20));
  if (how == "deleted") REQUIRE(log->DeleteTopic("t").ok());
  if (how == "trimmed") REQUIRE(log->Trim({"t", 0}, 1500).ok());
  if (how == "read") GroupReader(*log, "t").Commit(1500);
  if (how == "old") clock.Advance(hours(2));
  CHECK(Eventually([&] { return DiskOf(folder.path()) < (2 << 20); }));
  CHECK(Eventually([&] { return log->Usage()->used_bytes < (2 << 20); }));
  const auto reader = contract::ReaderOf(*log, "kept");
  CHECK(contract::Values(contract::ReadRecords(*reader, 1)) == Strings{"kept"});
}

TEST_CASE("a log whose records are read as they come stays small", "[local_log]") {
  TestFolder folder;
  const auto log = Open({.path = folder.path(), .segment_bytes = 256 << 10});
  REQUIRE(log->EnsureTopic("t", {.readers = {"g"}}).ok());
  REQUIRE(log->EnsureTopic("stuck", {.readers = {"g"}}).ok());
  GroupReader reader(*log, "t");
  for (int i = 0; i < 100; ++i) {
    contract::Fill(*log, "stuck", 0, {"one that waits"});
    FillMany(*log, "t", 60);
    reader.Commit(60 * (i + 1));
    REQUIRE(DiskOf(folder.path()) < (2 << 20));
  }
}

TEST_CASE("offsets of a group that reads a topic no more do not stay for ever", "[local_log]") {
  TestFolder folder;
  SharedClock clock;
  const LocalLogOptions options{.path = folder.path(), .segment_bytes = 64 << 10, .clock = &clock};
  const auto log = Open(options);
  REQUIRE(log->EnsureTopic("t", {.readers = {"g"}}).ok());
  FillMany(*log, "t", 40);
  GroupReader(*log, "t", "old name").Commit(20);
  GroupReader reader(*log, "t");
  reader.Commit(10);
  CHECK(log->Committed("old name", "t")->at(0).offset == 20);
  reader.Commit(40);
  FillMany(*log, "t", 40);
  CHECK(log->Committed("old name", "t")->at(0).offset == -1);
  CHECK(log->Committed("g", "t")->at(0).offset == 40);
}

TEST_CASE("a small quota is used nearly whole by new events", "[local_log]") {
  TestFolder folder;
  const uint64_t quota = 64 << 20;
  const auto log = Open({.path = folder.path(), .quota_bytes = quota, .reserve_bytes = 0});
  REQUIRE(log->EnsureTopic("t", {.readers = {"g"}}).ok());
  const std::string value(40'000, 'q');
  uint64_t appended = 0;
  while (contract::AppendAll(*log, {{"t", {.value = value, .partition = 0}}}).ok()) {
    appended += value.size();
  }
  CHECK(appended > quota / 100 * 88);
  CHECK(DiskOf(folder.path()) <= quota);
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
  const auto ensure = [&log] {
    REQUIRE(log->EnsureTopic("rare", {.retention = hours(3)}).ok());
    REQUIRE(log->EnsureTopic("busy", {.retention = hours(1)}).ok());
  };
  ensure();
  const bool reopened = GENERATE(false, true);
  for (int i = 0; i < 20; ++i) {
    contract::Fill(*log, "rare", 0, {std::to_string(i)});
    FillMany(*log, "busy", 20);
    clock.Advance(hours(2));
    if (!reopened) continue;
    log.reset();
    log = Open(options);
    ensure();
  }
  CHECK(Begin(*log, "rare") >= 15);
  CHECK(Begin(*log, "rare") < 20);
}

TEST_CASE("the quota holds, and reading frees it", "[local_log]") {
  TestFolder folder;
  const auto log =
      Open({.path = folder.path(), .quota_bytes = 1 << 20, .segment_bytes = 128 << 10});
  REQUIRE(log->EnsureTopic("t", {.readers = {"g"}}).ok());
  GroupReader reader(*log, "t");
  const std::string value(4000, 'q');
  const auto append = [&] {
    return contract::AppendAll(*log, {{"t", {.value = value, .partition = 0}}});
  };
  int64_t appended = 0;
  Status status = append();
  for (; status.ok() && appended < 1000; status = append()) ++appended;
  CHECK(status.code() == StatusCode::kResourceExhausted);
  CHECK(appended > 100);  // the rest of the quota is for what works off what is there
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
  const auto ensure = [&log] {
    REQUIRE(log->EnsureTopic("in", {.readers = {"g"}}).ok());
    REQUIRE(log->EnsureTopic("kept", {}).ok());
  };
  ensure();
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
      ensure();
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
  REQUIRE(log->EnsureTopic("t", {.readers = {"g"}}).ok());
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
  REQUIRE(log->EnsureTopic("t", {.readers = {"g"}}).ok());
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
  CHECK(fill([&] { return move("out"); }) > 20);
  CHECK(append("in") == StatusCode::kResourceExhausted);
  CHECK(append("done") == StatusCode::kOk);
  CHECK(fill([&] { return move("done"); }) > 20);
  CHECK(append("done") == StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace millrace::event_log
