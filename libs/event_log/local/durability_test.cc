#include <catch2/catch.hpp>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "libs/base/hash.h"
#include "libs/event_log/contract/contract.h"
#include "libs/event_log/local/format.h"
#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"

namespace millrace::event_log {
namespace {

using Strings = std::vector<std::string>;

std::unique_ptr<EventLog> Open(const LocalLogOptions& options) {
  StatusOr<std::unique_ptr<EventLog>> log = OpenLocalLog(options);
  INFO(Message(log.status()));
  REQUIRE(log.ok());
  return *std::move(log);
}

/// Everything in partition 0 of topic "t"; empty when there is no such topic.
Strings ReadBack(EventLog& log) {
  if (!log.Describe("t").ok()) return {};
  Strings values;
  const auto reader = contract::ReaderOf(log, "t");
  for (;;) {
    const auto batch = reader->Poll({.timeout = std::chrono::milliseconds(0)});
    REQUIRE(batch.ok());
    if (batch->records.empty()) return values;
    for (const ConsumedRecord& record : batch->records) values.emplace_back(record.value);
  }
}

Status AppendOne(EventLog& log, const std::string& value) {
  return contract::AppendAll(log, {{"t", {.value = value, .partition = 0}}});
}

/// Fails the n-th call that changes the disk, having done half of a write.
class FaultIo final : public Io {
 public:
  explicit FaultIo(int failing) : failing_(failing) {}
  StatusOr<int> Open(const std::string& path) override { return SystemIo().Open(path); }
  Status Allocate(int fd, uint64_t bytes) override {
    if (Due()) return Error(StatusCode::kUnavailable, "disk full");
    return SystemIo().Allocate(fd, bytes);
  }
  Status Write(int fd, std::string_view data, uint64_t position) override {
    if (!Due()) return SystemIo().Write(fd, data, position);
    // All, half or none of it is there.
    const size_t written = data.size() * static_cast<size_t>(failing_ % 3) / 2;
    CHECK(SystemIo().Write(fd, data.substr(0, written), position).ok());
    return Error(StatusCode::kUnavailable, "write failed");
  }
  Status Sync(int fd) override {
    if (Due()) return Error(StatusCode::kUnavailable, "sync failed");
    return SystemIo().Sync(fd);
  }
  uint64_t FreeBytes(const std::string& folder) override { return SystemIo().FreeBytes(folder); }

 private:
  bool Due() { return ++calls_ == failing_ || (calls_ == failing_ + 1 && failing_ % 2 == 0); }
  const int failing_;
  int calls_ = 0;
};

TEST_CASE("what was acknowledged survives the n-th failure of the disk", "[local_log]") {
  for (int n = 1; n <= 60; ++n) {
    CAPTURE(n);
    TestFolder folder;
    FaultIo io(n);
    Strings acknowledged;
    int refused = 0;
    {
      const auto log = Open({.path = folder.path(), .segment_bytes = 4096, .io = &io});
      for (int i = 0; i < 3 && !log->EnsureTopic("t", {}).ok(); ++i) ++refused;
      REQUIRE(log->Describe("t").ok());
      for (int i = 0; i < 20; ++i) {
        const std::string value = std::to_string(i) + std::string(300, 'x');
        const Status status = AppendOne(*log, value);
        if (status.ok()) {
          acknowledged.push_back(value);
        } else {
          CHECK(status.code() == StatusCode::kUnavailable);
          ++refused;
        }
      }
      REQUIRE(ReadBack(*log) == acknowledged);
    }
    CHECK(refused <= 2);
    const auto log = Open({.path = folder.path(), .segment_bytes = 4096});
    Strings read = ReadBack(*log);
    // Only the very last append may be there without having been acknowledged.
    if (read.size() == acknowledged.size() + 1) read.pop_back();
    REQUIRE(read == acknowledged);
  }
}

struct SmallLog {
  Strings values{"first", "second", "third", "fourth"};
  std::string bytes;
};

SmallLog MakeSmallLog() {
  SmallLog small;
  TestFolder folder;
  {
    const auto log = Open({.path = folder.path()});
    REQUIRE(log->EnsureTopic("t", {}).ok());
    for (const std::string& value : small.values) REQUIRE(AppendOne(*log, value).ok());
  }
  std::ifstream file(folder.path() + "/00000001.journal", std::ios::binary);
  small.bytes.assign(std::istreambuf_iterator<char>(file), {});
  small.bytes.resize(small.bytes.find_last_not_of('\0') + 1);
  REQUIRE(small.bytes.size() > 100);
  return small;
}

/// How many of the values a log with this journal yields; they must be the first ones.
size_t Recovered(const SmallLog& small, const std::string& bytes) {
  TestFolder folder;
  std::ofstream(folder.path() + "/00000001.journal", std::ios::binary) << bytes;
  const auto log = Open({.path = folder.path()});
  const Strings values = ReadBack(*log);
  REQUIRE(values.size() <= small.values.size());
  REQUIRE(std::equal(values.begin(), values.end(), small.values.begin()));
  // And the log goes on from there.
  REQUIRE(log->EnsureTopic("t", {}).ok());
  REQUIRE(AppendOne(*log, "more").ok());
  Strings all = ReadBack(*log);
  REQUIRE(all.size() == values.size() + 1);
  REQUIRE(all.back() == "more");
  return values.size();
}

TEST_CASE("a flipped byte costs only what stands at or after it", "[local_log]") {
  const SmallLog small = MakeSmallLog();
  REQUIRE(Recovered(small, small.bytes) == small.values.size());
  size_t before = 0;
  for (size_t at = 0; at < small.bytes.size(); ++at) {
    CAPTURE(at);
    std::string bytes = small.bytes;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x41);
    const size_t recovered = Recovered(small, bytes);
    REQUIRE(recovered < small.values.size());
    REQUIRE(recovered >= before);
    before = recovered;
  }
  CHECK(before == small.values.size() - 1);
}

TEST_CASE("a journal cut anywhere keeps its whole frames", "[local_log]") {
  const SmallLog small = MakeSmallLog();
  size_t before = 0;
  for (size_t size = 0; size < small.bytes.size(); ++size) {
    CAPTURE(size);
    const size_t recovered = Recovered(small, small.bytes.substr(0, size));
    REQUIRE(recovered < small.values.size());
    REQUIRE(recovered >= before);
    before = recovered;
  }
  CHECK(before == small.values.size() - 1);
}

TEST_CASE("what a killed process acknowledged is there", "[local_log]") {
  for (int acks = 1; acks <= 200; acks += 33) {
    CAPTURE(acks);
    TestFolder folder;
    int pipe_fds[2];
    REQUIRE(::pipe(pipe_fds) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
      auto log = OpenLocalLog({.path = folder.path(), .segment_bytes = 16 << 10});
      if (!log.ok() || !(*log)->EnsureTopic("t", {}).ok()) ::_exit(1);
      auto appender = (*log)->NewAppender();
      for (int i = 0; i < 100'000; ++i) {
        const std::string value = std::to_string(i) + std::string(100, 'y');
        const TopicRecord record{"t", {.value = value, .partition = 0}};
        (*appender)->Append({&record, 1}, [&pipe_fds, i](const Status& status) {
          if (status.ok() && ::write(pipe_fds[1], &i, sizeof i) != sizeof i) ::_exit(1);
        });
      }
      ::pause();
    }
    ::close(pipe_fds[1]);
    int last = -1;
    for (int i = 0; i < acks; ++i) REQUIRE(::read(pipe_fds[0], &last, sizeof last) == sizeof last);
    REQUIRE(::kill(child, SIGKILL) == 0);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    while (::read(pipe_fds[0], &last, sizeof last) == sizeof last) continue;
    ::close(pipe_fds[0]);
    const auto log = Open({.path = folder.path()});
    const Strings values = ReadBack(*log);
    REQUIRE(values.size() > static_cast<size_t>(last));
    for (size_t i = 0; i < values.size(); ++i) {
      REQUIRE(values[i] == std::to_string(i) + std::string(100, 'y'));
    }
  }
}

TEST_CASE("topics, offsets and notes survive reopening", "[local_log]") {
  TestFolder folder;
  for (int round = 0; round < 5; ++round) {
    CAPTURE(round);
    const auto log = Open({.path = folder.path()});
    REQUIRE(log->EnsureTopic("t", {.partitions = 2}).ok());
    const auto committed = log->Committed("g", "t");
    REQUIRE(committed.ok());
    REQUIRE(committed->size() == 2);
    CHECK((*committed)[0].offset == (round == 0 ? -1 : round));
    CHECK((*committed)[0].metadata == (round == 0 ? "" : std::to_string(round)));
    REQUIRE(AppendOne(*log, std::to_string(round)).ok());
    auto consumer = log->NewConsumer({.group = "g"});
    REQUIRE(consumer.ok());
    REQUIRE((*consumer)->Subscribe({"t"}).ok());
    CHECK(contract::Values(contract::ReadRecords(**consumer, 1)) == Strings{std::to_string(round)});
    REQUIRE(
        (*consumer)
            ->Commit(std::vector<CommittedOffset>{{{"t", 0}, round + 1, std::to_string(round + 1)}})
            .ok());
  }
  const auto log = Open({.path = folder.path()});
  CHECK(ReadBack(*log) == Strings{"0", "1", "2", "3", "4"});
}

TEST_CASE("what was trimmed stays away and a topic's altered retention stays", "[local_log]") {
  TestFolder folder;
  {
    const auto log = Open({.path = folder.path()});
    REQUIRE(log->EnsureTopic("t", {}).ok());
    for (const char* value : {"a", "b", "c"}) REQUIRE(AppendOne(*log, value).ok());
    contract::Fill(*log, "t", 0, {"d", "e", "f"});
    REQUIRE(log->Trim({"t", 0}, 4).ok());
    REQUIRE(log->EnsureTopic("t", {.partitions = 3, .retention = std::chrono::hours(1)}).ok());
  }
  const auto log = Open({.path = folder.path()});
  const auto bounds = log->Describe("t");
  REQUIRE(bounds.ok());
  REQUIRE(bounds->size() == 1);
  CHECK(bounds->at(0).begin_offset == 4);
  CHECK(bounds->at(0).end_offset == 6);
  CHECK(ReadBack(*log) == Strings{"e", "f"});
}

TEST_CASE("a log keeps its name, and an emptied folder is another log", "[local_log]") {
  TestFolder folder;
  const std::string id = *Open({.path = folder.path()})->Id();
  CHECK(*Open({.path = folder.path()})->Id() == id);
  for (const auto& file : std::filesystem::directory_iterator(folder.path())) {
    std::filesystem::remove(file.path());
  }
  CHECK(*Open({.path = folder.path()})->Id() != id);
}

TEST_CASE("a folder of an older version goes on with its backlog", "[local_log]") {
  TestFolder folder;
  // As format 1 was written before logs had names: groups that only read are noted with -1.
  std::string frame(format::kFrameHeaderBytes, '\0');
  format::PutOp(frame, {.kind = format::OpKind::kCheckpoint, .count = 8});
  format::PutOp(frame, {.kind = format::OpKind::kTopic,
                        .topic_id = 7,
                        .partition = 1,
                        .timestamp_us = 3'600'000,
                        .name = "t"});
  format::PutOp(frame, {.kind = format::OpKind::kBounds, .topic_id = 7, .offset = 10, .end = 10});
  format::PutOp(frame, {.kind = format::OpKind::kOffset, .topic_id = 7, .offset = -1, .name = "g"});
  format::PutOp(frame, {.kind = format::OpKind::kOffset,
                        .topic_id = 7,
                        .offset = 10,
                        .name = "renamed",
                        .text = std::string(3000, 'n')});
  for (int64_t offset = 10; offset < 13; ++offset) {
    std::string records;
    format::PutRecord(records, "key", "meta", std::to_string(offset));
    format::PutOp(frame, {.kind = format::OpKind::kBlock,
                          .topic_id = 7,
                          .offset = offset,
                          .timestamp_us = 1,  // as old as can be
                          .count = 1,
                          .crc = Crc32c(records),
                          .text = records});
  }
  format::FinishFrame(frame, 1, 1);
  std::ofstream(folder.path() + "/00000001.journal", std::ios::binary) << frame;
  std::ofstream(folder.path() + "/VERSION") << "millrace local log 1\n";

  for (int starts = 0; starts < 2; ++starts) {
    const auto log =
        Open({.path = folder.path(), .maintenance_interval = std::chrono::milliseconds(1)});
    CHECK(log->Committed("renamed", "t")->at(0).offset == 10);
    CHECK(log->Committed("g", "t")->at(0).offset == -1);
    REQUIRE(log->EnsureTopic("t", {.partitions = 1, .readers = {"g"}}).ok());
    CHECK(ReadBack(*log) == Strings{"10", "11", "12"});
  }
  const auto log = Open({.path = folder.path()});
  REQUIRE(log->EnsureTopic("t", {.partitions = 1, .readers = {"g"}}).ok());
  REQUIRE(AppendOne(*log, "13").ok());
  const auto consumer = *log->NewConsumer({.group = "g"});
  REQUIRE(consumer->Subscribe({"t"}).ok());
  CHECK(contract::Values(contract::ReadRecords(*consumer, 4)) == Strings{"10", "11", "12", "13"});
  REQUIRE(consumer->Commit(std::vector<CommittedOffset>{{{"t", 0}, 12, ""}}).ok());
  CHECK(ReadBack(*log) == Strings{"12", "13"});
}

TEST_CASE("a transaction or a call beyond the bound is refused, and a smaller one is taken",
          "[local_log]") {
  TestFolder folder;
  const LocalLogOptions options{.path = folder.path(), .max_transaction_bytes = 1 << 20};
  {
    const auto log = Open(options);
    REQUIRE(log->EnsureTopic("t", {}).ok());
    const std::string value(400'000, 'v');
    const std::vector<TopicRecord> one{{"t", {.value = value, .partition = 0}}};
    const auto transaction = *log->NewTransaction("worker");
    REQUIRE(transaction->Begin().ok());
    REQUIRE(transaction->Append(one).ok());
    REQUIRE(transaction->Append(one).ok());
    for (int tries = 0; tries < 3; ++tries) {
      CHECK(transaction->Append(one).code() == StatusCode::kResourceExhausted);
    }
    CHECK(transaction->Commit().code() == StatusCode::kResourceExhausted);
    CHECK(log->Describe("t")->at(0).end_offset == 0);
    REQUIRE(transaction->Begin().ok());
    REQUIRE(transaction->Append(one).ok());
    REQUIRE(transaction->Append(one).ok());
    CHECK(transaction->Commit().ok());
    const std::vector<TopicRecord> three(3, one[0]);
    CHECK(contract::AppendAll(*log, three).code() == StatusCode::kInvalidArgument);
    CHECK(contract::AppendAll(*log, {one[0], one[0]}).ok());
  }
  CHECK(ReadBack(*Open(options)).size() == 4);
}

TEST_CASE("what files begin with does not fill the disk, however many topics there are",
          "[local_log]") {
  TestFolder folder;
  const auto log = Open({.path = folder.path(), .segment_bytes = 128 << 10});
  const auto consumer = *log->NewConsumer({.group = "g"});
  std::vector<std::string> topics;
  std::vector<CommittedOffset> offsets;
  for (int i = 0; i < 100; ++i) {
    topics.push_back("topic " + std::to_string(i));
    REQUIRE(log->EnsureTopic(topics.back(), {.readers = {"g"}}).ok());
    offsets.push_back({{topics.back(), 0}, 0, std::string(4000, 'n')});
  }
  REQUIRE(consumer->Subscribe(topics).ok());
  REQUIRE(consumer->Poll({.timeout = std::chrono::milliseconds(0)}).ok());
  REQUIRE(consumer->Commit(offsets).ok());
  REQUIRE(log->EnsureTopic("t", {}).ok());
  for (int i = 0; i < 200; ++i) REQUIRE(AppendOne(*log, std::string(50'000, 'v')).ok());
  CHECK(log->Usage()->used_bytes < 30'000'000);  // for 10,000,000 of records
}

TEST_CASE("a newer format is refused", "[local_log]") {
  TestFolder folder;
  std::ofstream(folder.path() + "/VERSION") << "millrace local log 2\n";
  const auto log = OpenLocalLog({.path = folder.path()});
  CHECK(log.status().code() == StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace millrace::event_log
