#include "libs/event_log/contract/contract.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <future>

#include "libs/base/ids.h"

namespace millrace::event_log::contract {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);  // a real broker's rebalance takes seconds

void CopyOut(const RecordBatch& batch, std::vector<Read>& reads) {
  for (const ConsumedRecord& record : batch.records) {
    reads.push_back({batch.source_of(record), record.offset, std::string(record.key),
                     std::string(record.meta), std::string(record.value)});
  }
}

}  // namespace

void Run(const Factory& make) {
  std::vector<Case> cases = ConsumerCases();
  std::ranges::copy(GroupCases(), std::back_inserter(cases));
  std::ranges::copy(TransactionCases(), std::back_inserter(cases));
  std::ranges::copy(TopicCases(), std::back_inserter(cases));
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const std::unique_ptr<EventLog> log = make();
      REQUIRE(log != nullptr);
      c.run(*log);
    }
  }
}

std::string Unique(std::string_view name) {
  return fmt::format("{}-{}", name, NewUuid().substr(0, 13));
}

std::string NewTopic(EventLog& log, int32_t partitions) {
  std::string topic = Unique("topic");
  REQUIRE(log.EnsureTopic(topic, {.partitions = partitions}).ok());
  return topic;
}

Status AppendAll(EventLog& log, const std::vector<TopicRecord>& records) {
  StatusOr<std::unique_ptr<Appender>> appender = log.NewAppender();
  MR_RETURN_IF_ERROR(appender.status());
  const auto answer = std::make_shared<std::promise<Status>>();
  (*appender)->Append(records, [answer](Status status) { answer->set_value(std::move(status)); });
  return answer->get_future().get();
}

void Fill(EventLog& log, const std::string& topic, int32_t partition,
          const std::vector<std::string>& values) {
  std::vector<TopicRecord> records;
  for (const std::string& value : values) {
    records.push_back({topic, {.value = value, .partition = partition}});
  }
  const Status status = AppendAll(log, records);
  INFO(Message(status));
  REQUIRE(status.ok());
}

bool PollUntil(std::vector<Consumer*> consumers, std::vector<Read>& reads,
               const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    for (Consumer* consumer : consumers) {
      const StatusOr<RecordBatch> batch =
          consumer->Poll({.timeout = std::chrono::milliseconds(20)});
      REQUIRE(batch.ok());
      CopyOut(*batch, reads);
    }
  }
  return true;
}

std::vector<Read> ReadRecords(Consumer& consumer, size_t count) {
  std::vector<Read> reads;
  PollUntil({&consumer}, reads, [&] { return reads.size() >= count; });
  const StatusOr<RecordBatch> surplus = consumer.Poll({.timeout = std::chrono::milliseconds(20)});
  REQUIRE(surplus.ok());
  CopyOut(*surplus, reads);
  return reads;
}

std::vector<std::string> Values(const std::vector<Read>& records) {
  std::vector<std::string> values;
  for (const Read& read : records) values.push_back(read.value);
  return values;
}

std::unique_ptr<Consumer> ReaderOf(EventLog& log, const std::string& topic) {
  const StatusOr<std::vector<PartitionInfo>> partitions = log.Describe(topic);
  REQUIRE(partitions.ok());
  std::vector<CommittedOffset> positions;
  for (const PartitionInfo& info : *partitions)
    positions.push_back({{topic, info.partition}, -1, ""});
  StatusOr<std::unique_ptr<Consumer>> consumer = log.NewConsumer({});
  REQUIRE(consumer.ok());
  REQUIRE((*consumer)->Assign(positions).ok());
  return *std::move(consumer);
}

void Listener::OnAssigned(std::span<const CommittedOffset> partitions) {
  last_assigned.assign(partitions.begin(), partitions.end());
  for (const CommittedOffset& position : partitions) owned.push_back(position.partition);
  std::ranges::sort(owned);
}

void Listener::OnRevoked(std::span<const TopicPartition> partitions) {
  for (const TopicPartition& partition : partitions) std::erase(owned, partition);
}

}  // namespace millrace::event_log::contract
