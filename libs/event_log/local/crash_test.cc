#include <catch2/catch.hpp>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "libs/event_log/contract/contract.h"
#include "libs/event_log/local/test_log.h"
#include "libs/event_log/local/weak_io.h"

namespace millrace::event_log {
namespace {

using Strings = std::vector<std::string>;
using std::chrono::hours;

constexpr uint64_t kSegment = 128 << 10;

/// Everything in partition 0 of `topic`.
Strings ReadBack(EventLog& log, const std::string& topic) {
  Strings values;  // their first bytes
  const auto reader = contract::ReaderOf(log, topic);
  for (;;) {
    const auto batch = reader->Poll({.timeout = std::chrono::milliseconds(0)});
    REQUIRE(batch.ok());
    if (batch->records.empty()) return values;
    for (const ConsumedRecord& record : batch->records)
      values.emplace_back(record.value.substr(0, 16));
  }
}

Status AppendOne(EventLog& log, const std::string& topic, const std::string& value) {
  return contract::AppendAll(log, {{topic, {.value = value, .partition = 0}}});
}

TEST_CASE("a frame that failed stays overruled when the file that overruled it is gone",
          "[local_log]") {
  TestFolder folder;
  SharedClock clock;
  WeakIo io;
  const LocalLogOptions options{
      .path = folder.path(), .segment_bytes = kSegment, .clock = &clock, .io = &io};
  Strings before;
  {
    const auto log = Open(options);
    REQUIRE(log->EnsureTopic("kept", {.retention = hours(1000)}).ok());
    REQUIRE(log->EnsureTopic("t", {.retention = hours(1)}).ok());
    // So much that the first file stays.
    for (int i = 0; i < 20; ++i) REQUIRE(AppendOne(*log, "kept", std::string(4000, 'k')).ok());
    io.failing_syncs = 1;
    std::vector<TopicRecord> many(1000, {"t", {.value = "never acknowledged", .partition = 0}});
    REQUIRE(contract::AppendAll(*log, many).code() == StatusCode::kUnavailable);
    // The second file holds the first of these offsets; it goes, as it is old, and is used again.
    for (int i = 0; i < 200; ++i) {
      if (i == 40 || i == 80) clock.Advance(hours(2));
      REQUIRE(AppendOne(*log, "t", std::to_string(i) + std::string(4000, ' ')).ok());
    }
    before = ReadBack(*log, "t");
  }
  const auto log = Open(options);
  const Strings after = ReadBack(*log, "t");
  REQUIRE(after.size() >= before.size());  // a file that is to be used again is still there
  CHECK(Strings(after.end() - static_cast<std::ptrdiff_t>(before.size()), after.end()) == before);
  CHECK(std::ranges::count(after, "never acknowledg") == 0);
}

TEST_CASE("what recovery takes for written is on the disk from then on", "[local_log]") {
  TestFolder folder;
  WeakIo io;
  const LocalLogOptions options{.path = folder.path(), .segment_bytes = kSegment, .io = &io};
  {
    const auto log = Open(options);
    for (const char* topic : {"in", "out"}) REQUIRE(log->EnsureTopic(topic, {}).ok());
    // So much that the file stays as it is.
    for (int i = 0; i < 20; ++i) REQUIRE(AppendOne(*log, "in", std::string(4000, 'i')).ok());
    const auto consumer = *log->NewConsumer({.group = "g"});
    REQUIRE(consumer->Subscribe({"in"}).ok());
    REQUIRE(contract::ReadRecords(*consumer, 20).size() == 20);
    const auto transaction = *log->NewTransaction("worker");
    REQUIRE(transaction->Begin().ok());
    const TopicRecord moved{"out", {.value = "an event", .partition = 0}};
    REQUIRE(transaction->Append({&moved, 1}).ok());
    const CommittedOffset offset{{"in", 0}, 1, ""};
    REQUIRE(transaction->AddOffsets(*consumer, {&offset, 1}).ok());
    io.failing_syncs = 1;  // as when the process is killed between write and sync
    REQUIRE(!transaction->Commit().ok());
  }
  {
    const auto log = Open(options);
    REQUIRE(AppendOne(*log, "in", "another").ok());
  }
  io.LosePower();
  const auto log = Open(options);
  const bool moved = log->Committed("g", "in")->at(0).offset == 1;
  CHECK(ReadBack(*log, "out").size() == (moved ? 1 : 0));
}

TEST_CASE("a full log whose records are all read is free again with a smaller quota",
          "[local_log]") {
  TestFolder folder;
  LocalLogOptions options{.path = folder.path(), .quota_bytes = 8 << 20, .segment_bytes = kSegment};
  int64_t appended = 0;
  {
    const auto log = Open(options);
    REQUIRE(log->EnsureTopic("t", {.readers = {"g"}}).ok());
    for (; appended < 700; ++appended) REQUIRE(AppendOne(*log, "t", std::string(4000, 'q')).ok());
    const auto consumer = *log->NewConsumer({.group = "g"});
    REQUIRE(consumer->Subscribe({"t"}).ok());
    REQUIRE(consumer->Poll({.max_records = 1, .timeout = std::chrono::milliseconds(0)}).ok());
    const CommittedOffset all{{"t", 0}, appended, ""};
    REQUIRE(consumer->Commit({&all, 1}).ok());
  }
  options.quota_bytes = 2 << 20;
  const auto log = Open(options);
  REQUIRE(log->EnsureTopic("t", {.readers = {"g"}}).ok());
  Status status = AppendOne(*log, "t", "new");
  for (int i = 0; i < 1000 && !status.ok(); ++i) status = AppendOne(*log, "t", "new");
  INFO(Message(status));
  CHECK(status.ok());
}

TEST_CASE("a disk that fails again and again does not use up the quota", "[local_log]") {
  TestFolder folder;
  WeakIo io;
  const auto log = Open({.path = folder.path(), .quota_bytes = 2 << 20, .io = &io});
  REQUIRE(log->EnsureTopic("t", {}).ok());
  REQUIRE(AppendOne(*log, "t", "first").ok());
  io.failing_syncs = 1 << 30;
  for (int i = 0; i < 100; ++i) REQUIRE(!AppendOne(*log, "t", std::string(1000, 'q')).ok());
  io.failing_syncs = 0;
  Status status = AppendOne(*log, "t", "second");
  INFO(Message(status));
  REQUIRE(status.ok());
  CHECK(ReadBack(*log, "t") == Strings{"first", "second"});
}

/// A disk smaller than the quota.
class SmallDisk final : public WeakIo {
 public:
  SmallDisk(std::string folder, uint64_t bytes) : folder_(std::move(folder)), bytes_(bytes) {}
  Status Allocate(int fd, uint64_t bytes) override {
    struct stat info {};
    REQUIRE(::fstat(fd, &info) == 0);
    const auto before = static_cast<uint64_t>(info.st_size);
    if (bytes > before && bytes - before > FreeBytes(folder_)) {
      return Error(StatusCode::kUnavailable, "no space left on device");
    }
    return WeakIo::Allocate(fd, bytes);
  }
  uint64_t FreeBytes(const std::string& /*folder*/) override {
    uint64_t used = of_others;
    for (const auto& file : std::filesystem::directory_iterator(folder_)) used += file.file_size();
    return bytes_ - std::min(bytes_, used);
  }
  std::atomic<uint64_t> of_others{0};

 private:
  const std::string folder_;
  const uint64_t bytes_;
};

TEST_CASE("a full disk counts as a full log, which is free again once it is read", "[local_log]") {
  TestFolder folder;
  SmallDisk io(folder.path(), 4 << 20);
  const auto log = Open({.path = folder.path(),
                         .quota_bytes = 1 << 30,
                         .segment_bytes = kSegment,
                         .reserve_bytes = 1 << 20,
                         .io = &io});
  REQUIRE(log->EnsureTopic("in", {.readers = {"g"}}).ok());
  REQUIRE(log->EnsureTopic("out", {}).ok());
  const auto consumer = *log->NewConsumer({.group = "g"});
  REQUIRE(consumer->Subscribe({"in"}).ok());
  REQUIRE(consumer->Poll({.max_records = 1, .timeout = std::chrono::milliseconds(0)}).ok());
  const std::string value(4000, 'q');
  int64_t appended = 0;
  for (int cycle = 0; cycle < 3; ++cycle) {
    CAPTURE(cycle);
    Status status = AppendOne(*log, "in", value);
    for (int64_t most = appended + 2000; status.ok() && appended < most; ++appended) {
      status = AppendOne(*log, "in", value);
    }
    appended = log->Describe("in")->at(0).end_offset;
    CHECK(status.code() == StatusCode::kResourceExhausted);
    // What is there can be moved on.
    const auto transaction = *log->NewTransaction("worker");
    for (int i = 0; i < 20; ++i) {
      REQUIRE(transaction->Begin().ok());
      const TopicRecord moved{"out", {.value = value, .partition = 0}};
      REQUIRE(transaction->Append({&moved, 1}).ok());
      const Status committed = transaction->Commit();
      INFO(Message(committed));
      CHECK(committed.ok());
    }
    const CommittedOffset all{{"in", 0}, appended, ""};
    REQUIRE(consumer->Commit({&all, 1}).ok());
    for (int i = 0; i < 200; ++i) REQUIRE(AppendOne(*log, "in", value).ok());
    appended += 200;
  }
}

/// Appends until it is taken; the log finds out by itself that it can.
bool TakenInTime(EventLog& log, const std::string& topic, const std::string& value) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  for (;;) {
    const Status status = AppendOne(log, topic, value);
    if (status.ok()) return true;
    CHECK(status.code() == StatusCode::kResourceExhausted);
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

TEST_CASE("a log leaves disk to others, and goes on when these give theirs back", "[local_log]") {
  TestFolder folder;
  constexpr uint64_t kLeft = 2 << 20;
  SmallDisk io(folder.path(), 16 << 20);
  const auto log = Open({.path = folder.path(),
                         .quota_bytes = 1 << 30,
                         .segment_bytes = kSegment,
                         .reserve_bytes = kLeft,
                         .maintenance_interval = std::chrono::milliseconds(5),
                         .closing_topics = {"done"},
                         .io = &io});
  for (const char* topic : {"in", "done"}) REQUIRE(log->EnsureTopic(topic, {}).ok());
  const std::string value(4000, 'q');
  while (AppendOne(*log, "in", value).ok()) continue;
  CHECK(io.FreeBytes(folder.path()) >= kLeft);
  CHECK(AppendOne(*log, "done", value).ok());
  io.of_others = 16 << 20;
  CHECK(AppendOne(*log, "in", value).code() == StatusCode::kResourceExhausted);
  const int64_t before = log->Describe("in")->at(0).end_offset;
  io.of_others = 0;
  REQUIRE(log->Trim({"in", 0}, before).ok());
  CHECK(TakenInTime(*log, "in", value));
}

TEST_CASE("a file that may not grow is a full disk, not the end of the process", "[local_log]") {
  TestFolder folder;
  const auto log = Open({.path = folder.path(),
                         .segment_bytes = 8 << 20,
                         .maintenance_interval = std::chrono::milliseconds(5)});
  REQUIRE(log->EnsureTopic("t", {}).ok());
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  rlimit small = before;
  small.rlim_cur = 1 << 20;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  Status status;
  int64_t appended = 0;
  for (; status.ok() && appended < 1000; ++appended) {
    status = AppendOne(*log, "t", std::string(4000, 'q'));
  }
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  CHECK(status.code() == StatusCode::kResourceExhausted);
  CHECK(TakenInTime(*log, "t", "last"));
  CHECK(static_cast<int64_t>(ReadBack(*log, "t").size()) == appended);
}

/// Spoils the first occurrence of `text` in the journal.
void Damage(const std::string& folder, const std::string& text) {
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() != ".journal") continue;
    std::fstream stream(file.path(), std::ios::binary | std::ios::in | std::ios::out);
    const std::string bytes(std::istreambuf_iterator<char>(stream), {});
    const size_t at = bytes.find(text);
    if (at == std::string::npos) continue;
    stream.seekp(static_cast<std::streamoff>(at));
    stream << 'X';
    return;
  }
  FAIL("not in the journal");
}

TEST_CASE("a damaged record does not keep the files of others", "[local_log]") {
  TestFolder folder;
  SharedClock clock;
  const auto log = Open({.path = folder.path(), .segment_bytes = kSegment, .clock = &clock});
  REQUIRE(log->EnsureTopic("rare", {.retention = hours(1000)}).ok());
  REQUIRE(log->EnsureTopic("busy", {.retention = hours(1)}).ok());
  for (int i = 0; i < 20; ++i) {
    REQUIRE(AppendOne(*log, "rare", "rare record " + std::to_string(i)).ok());
    if (i == 0) Damage(folder.path(), "rare record 0");
    for (int k = 0; k < 40; ++k) REQUIRE(AppendOne(*log, "busy", std::string(4000, 'b')).ok());
    clock.Advance(hours(2));
  }
  size_t files = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder.path())) {
    files += file.path().extension() == ".journal" ? 1 : 0;
  }
  CHECK(files < 9);
  Strings expected;
  for (int i = 1; i < 20; ++i) expected.push_back("rare record " + std::to_string(i));
  CHECK(ReadBack(*log, "rare") == expected);
}

}  // namespace
}  // namespace millrace::event_log
