#include <catch2/catch.hpp>

#include <algorithm>
#include <future>
#include <set>

#include "libs/base/hash.h"
#include "libs/event_log/contract/contract.h"

namespace millrace::event_log::contract {
namespace {

using Strings = std::vector<std::string>;

void ReadsWhatWasAppendedInOrder(EventLog& log) {
  const std::string topic = NewTopic(log, 1);
  Strings values;
  for (int i = 0; i < 300; ++i) values.push_back(std::to_string(i));
  Fill(log, topic, 0, values);
  Fill(log, topic, 0, {"last"});
  values.emplace_back("last");
  const std::vector<Read> reads = ReadRecords(*ReaderOf(log, topic), values.size());
  REQUIRE(Values(reads) == values);
  for (size_t i = 0; i < reads.size(); ++i) REQUIRE(reads[i].offset == static_cast<int64_t>(i));
}

void KeepsEveryByte(EventLog& log) {
  const std::string topic = NewTopic(log, 1);
  const std::string binary("\0\xff\n\"", 4);
  const std::string large(200'000, 'x');
  REQUIRE(AppendAll(log, {{topic, {.key = binary, .meta = "m", .value = large, .partition = 0}},
                          {topic, {.key = "k", .meta = binary, .value = "", .partition = 0}},
                          {topic, {.value = binary, .partition = 0}}})
              .ok());
  const std::vector<Read> reads = ReadRecords(*ReaderOf(log, topic), 3);
  REQUIRE(reads.size() == 3);
  CHECK(reads[0].key == binary);
  CHECK(reads[0].meta == "m");
  CHECK((reads[0].value == large));
  CHECK(reads[1].meta == binary);
  CHECK(reads[1].value.empty());
  CHECK(reads[2].key.empty());
  CHECK(reads[2].meta.empty());
  CHECK(reads[2].value == binary);
}

void KeysChoosePartitionsAsKafka(EventLog& log) {
  const std::string topic = NewTopic(log, 5);
  Strings keys;
  for (int i = 0; i < 50; ++i) keys.push_back("user-" + std::to_string(i));
  std::vector<TopicRecord> records;
  for (const std::string& key : keys) records.push_back({topic, {.key = key, .value = key}});
  records.push_back({topic, {.key = "user-1", .value = "explicit", .partition = 4}});
  records.push_back({topic, {.value = "no key"}});
  REQUIRE(AppendAll(log, records).ok());
  const std::vector<Read> reads = ReadRecords(*ReaderOf(log, topic), records.size());
  REQUIRE(reads.size() == records.size());
  for (const Read& read : reads) {
    CAPTURE(read.value);
    if (read.value == "explicit") CHECK(read.partition.partition == 4);
    if (read.value == read.key) {
      CHECK(read.partition.partition == static_cast<int32_t>(Murmur2(read.key) % 5));
    }
  }
}

void AnswersForUnknownTopics(EventLog& log) {
  const std::string topic = Unique("absent");
  CHECK(AppendAll(log, {{topic, {.value = "x"}}}).code() == StatusCode::kNotFound);
  CHECK(log.Describe(topic).status().code() == StatusCode::kNotFound);
  CHECK(log.DeleteTopic(topic).ok());
}

void DescribesAndForgetsTopics(EventLog& log) {
  const std::string topic = NewTopic(log, 2);
  REQUIRE(log.EnsureTopic(topic, {.partitions = 7}).ok());  // keeps the two it has
  Fill(log, topic, 1, {"a", "b", "c"});
  const StatusOr<std::vector<PartitionInfo>> info = log.Describe(topic);
  REQUIRE(info.ok());
  REQUIRE(info->size() == 2);
  CHECK((*info)[0].end_offset == 0);
  CHECK((*info)[1].partition == 1);
  CHECK((*info)[1].begin_offset == 0);
  CHECK((*info)[1].end_offset == 3);
  const auto listed = [&] {
    const StatusOr<Strings> topics = log.ListTopics();
    REQUIRE(topics.ok());
    return std::ranges::count(*topics, topic);
  };
  CHECK(listed() == 1);
  REQUIRE(log.DeleteTopic(topic).ok());
  CHECK(listed() == 0);
}

void AssignsFromOldestEndAndOffset(EventLog& log) {
  const std::string topic = NewTopic(log, 3);
  for (int32_t p = 0; p < 3; ++p) Fill(log, topic, p, {"a", "b", "c"});
  auto consumer = log.NewConsumer({});
  REQUIRE(consumer.ok());
  REQUIRE((*consumer)
              ->Assign(std::vector<CommittedOffset>{
                  {{topic, 0}, -1, ""}, {{topic, 1}, -2, ""}, {{topic, 2}, 2, ""}})
              .ok());
  std::vector<Read> reads = ReadRecords(**consumer, 4);
  REQUIRE(reads.size() == 4);
  Fill(log, topic, 1, {"d"});
  const std::vector<Read> more = ReadRecords(**consumer, 1);
  reads.insert(reads.end(), more.begin(), more.end());
  std::multiset<std::pair<int32_t, std::string>> got;
  for (const Read& read : reads) got.emplace(read.partition.partition, read.value);
  CHECK(got == std::multiset<std::pair<int32_t, std::string>>{
                   {0, "a"}, {0, "b"}, {0, "c"}, {1, "d"}, {2, "c"}});
}

void PausesAndSeeks(EventLog& log) {
  const std::string topic = NewTopic(log, 2);
  Fill(log, topic, 0, {"a0", "b0"});
  Fill(log, topic, 1, {"a1", "b1"});
  const std::unique_ptr<Consumer> consumer = ReaderOf(log, topic);
  consumer->Pause({topic, 0});
  CHECK(Values(ReadRecords(*consumer, 2)) == Strings{"a1", "b1"});
  consumer->Resume({topic, 0});
  CHECK(Values(ReadRecords(*consumer, 2)) == Strings{"a0", "b0"});
  REQUIRE(consumer->Seek({topic, 1}, 1).ok());
  CHECK(Values(ReadRecords(*consumer, 1)) == Strings{"b1"});
}

void KeepsPollLimits(EventLog& log) {
  const std::string topic = NewTopic(log, 1);
  Fill(log, topic, 0, {"a", "b", "c", "d", "e"});
  const std::unique_ptr<Consumer> consumer = ReaderOf(log, topic);
  size_t read = 0;
  for (int i = 0; i < 1000 && read < 5; ++i) {
    const StatusOr<RecordBatch> batch = consumer->Poll({.max_records = 2});
    REQUIRE(batch.ok());
    CHECK(batch->records.size() <= 2);
    read += batch->records.size();
  }
  CHECK(read == 5);
}

void WakeEndsPoll(EventLog& log) {
  const std::string topic = NewTopic(log, 1);
  const std::unique_ptr<Consumer> consumer = ReaderOf(log, topic);
  consumer->Wake();  // also before the Poll
  const StatusOr<RecordBatch> batch = consumer->Poll({.timeout = std::chrono::hours(1)});
  REQUIRE(batch.ok());
  CHECK(batch->records.empty());
  std::future<bool> polled = std::async(
      std::launch::async, [&] { return consumer->Poll({.timeout = std::chrono::hours(1)}).ok(); });
  consumer->Wake();
  CHECK(polled.get());
}

void ViewsOutliveTheConsumer(EventLog& log) {
  const std::string topic = NewTopic(log, 1);
  Fill(log, topic, 0, {"kept"});
  std::unique_ptr<Consumer> consumer = ReaderOf(log, topic);
  StatusOr<RecordBatch> batch = RecordBatch{};
  for (int i = 0; i < 600 && batch->records.empty(); ++i) {
    batch = consumer->Poll({});
    REQUIRE(batch.ok());
  }
  REQUIRE(batch->records.size() == 1);
  consumer.reset();
  CHECK(batch->records[0].value == "kept");
}

}  // namespace

std::vector<Case> ConsumerCases() {
  return {{"reads what was appended, in order", ReadsWhatWasAppendedInOrder},
          {"keeps every byte", KeepsEveryByte},
          {"keys choose partitions as Kafka's clients do", KeysChoosePartitionsAsKafka},
          {"answers for unknown topics", AnswersForUnknownTopics},
          {"describes and forgets topics", DescribesAndForgetsTopics},
          {"assigns from oldest, end and offset", AssignsFromOldestEndAndOffset},
          {"pauses, resumes and seeks", PausesAndSeeks},
          {"keeps the limits of Poll", KeepsPollLimits},
          {"Wake ends a Poll", WakeEndsPoll},
          {"views outlive the consumer", ViewsOutliveTheConsumer}};
}

}  // namespace millrace::event_log::contract
