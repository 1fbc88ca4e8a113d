#include <catch2/catch.hpp>

#include <atomic>
#include <map>
#include <thread>

#include "libs/event_log/contract/contract.h"
#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"

namespace millrace::event_log {
namespace {

constexpr int kWriters = 3;
constexpr int kEach = 200;
constexpr std::chrono::milliseconds kShort{5};

/// Moves records from "in" to "out" in transactions until `stop`, joining the group anew after each
/// failure and, to make the others share anew, after so many commits as `stay`.
void Move(EventLog& log, const std::string& name, int stay, const std::atomic<bool>& stop) {
  while (!stop) {
    const auto consumer = *log.NewConsumer({.group = "movers", .instance = name});
    const auto transaction = *log.NewTransaction(name);
    Status status = consumer->Subscribe({"in"});
    for (int commits = 0; status.ok() && commits < stay && !stop;) {
      const auto batch = consumer->Poll({.max_records = 7, .timeout = kShort});
      if (!batch.ok()) break;
      if (batch->records.empty()) continue;
      std::vector<TopicRecord> moved;
      std::map<TopicPartition, int64_t> next;
      for (const ConsumedRecord& record : batch->records) {
        moved.push_back({"out", {.key = record.key, .value = record.value}});
        next[batch->source_of(record)] = record.offset + 1;
      }
      std::vector<CommittedOffset> offsets;
      for (const auto& [partition, offset] : next) offsets.push_back({partition, offset, ""});
      status = transaction->Begin();
      if (status.ok()) status = transaction->Append(moved);
      if (status.ok()) status = transaction->AddOffsets(*consumer, offsets);
      if (status.ok()) status = transaction->Commit();
      ++commits;
    }
  }
}

// Above all for ThreadSanitizer: everything that threads do with a log, at once.
TEST_CASE("writers, movers that come and go, and topics that do, are not in each other's way",
          "[local_log]") {
  TestFolder folder;
  auto opened = OpenLocalLog({.path = folder.path(), .segment_bytes = 128 << 10});
  REQUIRE(opened.ok());
  EventLog& log = **opened;
  for (const char* topic : {"in", "out"}) REQUIRE(log.EnsureTopic(topic, {.partitions = 4}).ok());
  std::atomic<bool> stop = false;
  std::atomic<int> refused = 0;
  std::vector<std::jthread> threads;
  for (int writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&log, &refused, writer] {
      const std::string key = std::to_string(writer);
      for (int i = 0; i < kEach; ++i) {
        const std::string value = std::to_string(i);
        if (!contract::AppendAll(log, {{"in", {.key = key, .value = value}}}).ok()) ++refused;
      }
    });
  }
  threads.emplace_back([&] { Move(log, "a", 1'000'000, stop); });
  threads.emplace_back([&] { Move(log, "b", 3, stop); });
  threads.emplace_back([&] {
    for (int i = 0; !stop; ++i) {
      const std::string topic = "passing" + std::to_string(i % 3);
      if (!log.EnsureTopic(topic, {.partitions = 2}).ok() || !log.Describe("out").ok() ||
          !log.ListTopics().ok() || !log.Committed("movers", "in").ok() ||
          !contract::AppendAll(log, {{topic, {.value = std::string(2000, 'p')}}}).ok() ||
          !log.DeleteTopic(topic).ok()) {
        ++refused;
      }
    }
  });
  const std::vector<contract::Read> reads =
      contract::ReadRecords(*contract::ReaderOf(log, "out"), kWriters * kEach);
  stop = true;
  threads.clear();
  CHECK(refused == 0);
  CHECK(reads.size() == kWriters * kEach);
  std::map<std::string, int> next;
  for (const contract::Read& read : reads) CHECK(read.value == std::to_string(next[read.key]++));
}

}  // namespace
}  // namespace millrace::event_log
