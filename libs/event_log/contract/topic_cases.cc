#include <catch2/catch.hpp>

#include <algorithm>

#include "libs/event_log/contract/contract.h"

namespace millrace::event_log::contract {
namespace {

using Strings = std::vector<std::string>;

PartitionInfo Bounds(EventLog& log, const std::string& topic) {
  const auto info = log.Describe(topic);
  INFO(Message(info.status()));
  REQUIRE(info.ok());
  return info->at(0);
}

void EnsuringAltersWhatExists(EventLog& log) {
  const std::string topic = NewTopic(log, 2);
  Fill(log, topic, 1, {"kept"});
  const TopicOptions wanted[] = {{.partitions = 5, .readers = {"one", "two"}},
                                 {.partitions = 5, .readers = {"one"}},
                                 {.partitions = 5, .retention = std::chrono::hours(3)},
                                 {.partitions = 5, .retention = std::chrono::hours(4)},
                                 {}};
  for (const TopicOptions& options : wanted) {
    for (int times = 0; times < 2; ++times) {
      const Status status = log.EnsureTopic(topic, options);
      INFO(Message(status));
      REQUIRE(status.ok());
    }
    CHECK(log.Describe(topic)->size() == 2);
  }
  CHECK(Values(ReadRecords(*ReaderOf(log, topic), 1)) == Strings{"kept"});
}

void TrimFreesWhatIsBefore(EventLog& log) {
  const std::string topic = NewTopic(log, 1);
  Fill(log, topic, 0, {"0", "1", "2"});
  Fill(log, topic, 0, {"3", "4", "5"});
  REQUIRE(log.Trim({topic, 0}, 4).ok());
  CHECK(Bounds(log, topic).begin_offset == 4);
  CHECK(Bounds(log, topic).end_offset == 6);
  CHECK(Values(ReadRecords(*ReaderOf(log, topic), 2)) == Strings{"4", "5"});
  REQUIRE(log.Trim({topic, 0}, 2).ok());  // never back
  CHECK(Bounds(log, topic).begin_offset == 4);

  const auto reader = ReaderOf(log, topic);
  for (const int64_t before : {6, 1000}) {
    REQUIRE(log.Trim({topic, 0}, before).ok());
    CHECK(Bounds(log, topic).begin_offset == 6);
    CHECK(Bounds(log, topic).end_offset == 6);
  }
  Fill(log, topic, 0, {"6"});
  CHECK(Bounds(log, topic).end_offset == 7);
  CHECK(ReadRecords(*reader, 1).at(0).offset == 6);

  CHECK(log.Trim({topic, 1}, 1).code() == StatusCode::kNotFound);
  CHECK(log.Trim({Unique("none"), 0}, 1).code() == StatusCode::kNotFound);
}

void WhatItsReadersHaveReadGoesSoon(EventLog& log) {
  const std::string topic = NewTopic(log, 1);
  const std::string group = Unique("group");
  const std::string later = Unique("later");
  REQUIRE(log.EnsureTopic(topic, {.readers = {group, later}}).ok());
  for (const char* value : {"0", "1", "2"}) Fill(log, topic, 0, {value});
  const auto commit = [&](const std::string& reader, int64_t offset) {
    const auto consumer = *log.NewConsumer({.group = reader});
    REQUIRE(consumer->Subscribe({topic}).ok());
    CHECK(ReadRecords(*consumer, 3).size() == 3);
    REQUIRE(consumer->Commit(std::vector<CommittedOffset>{{{topic, 0}, offset, ""}}).ok());
  };
  commit(Unique("stranger"), 3);
  commit(group, 2);
  CHECK(Bounds(log, topic).begin_offset == 0);
  REQUIRE(log.EnsureTopic(topic, {}).ok());  // asks nothing, so alters nothing
  commit(later, 1);
  std::vector<Read> none;
  const auto reader = ReaderOf(log, topic);
  CHECK(PollUntil({reader.get()}, none, [&] { return Bounds(log, topic).begin_offset == 1; }));
  CHECK(Values(ReadRecords(*ReaderOf(log, topic), 2)) == Strings{"1", "2"});
}

void KeepsItsName(EventLog& log) {
  const auto id = log.Id();
  REQUIRE(id.ok());
  CHECK(!id->empty());
  CHECK(log.Id() == id);
}

void SaysWhatItHolds(EventLog& log) {
  const std::string topic = NewTopic(log, 1);
  Fill(log, topic, 0, {std::string(10'000, 'x')});
  const auto usage = log.Usage();
  REQUIRE(usage.ok());
  if (usage->quota_bytes == 0) return;  // it does not know
  const auto of_topic = [&topic](const LogUsage& all) {
    const auto found = std::ranges::find(all.topics, topic, &TopicUsage::topic);
    return found == all.topics.end() ? uint64_t{0} : found->bytes;
  };
  CHECK(of_topic(*usage) >= 10'000);
  CHECK(of_topic(*usage) < 12'000);
  CHECK(usage->used_bytes >= of_topic(*usage));
  REQUIRE(log.Trim({topic, 0}, 1).ok());
  CHECK(of_topic(*log.Usage()) == 0);
}

}  // namespace

std::vector<Case> TopicCases() {
  return {
      {"ensuring a topic that exists alters it and keeps its records", EnsuringAltersWhatExists},
      {"Trim frees what is before its offset and nothing else", TrimFreesWhatIsBefore},
      {"what all readers of a topic have read goes soon, and nothing else",
       WhatItsReadersHaveReadGoesSoon},
      {"a log has a name and keeps it", KeepsItsName},
      {"a log says what it holds for each topic", SaysWhatItHolds}};
}

}  // namespace millrace::event_log::contract
