#include <catch2/catch.hpp>

#include <algorithm>

#include "libs/event_log/contract/contract.h"

namespace millrace::event_log::contract {
namespace {

using Strings = std::vector<std::string>;

std::unique_ptr<Consumer> Member(EventLog& log, const std::string& group, const std::string& topic,
                                 Listener& listener) {
  auto consumer = log.NewConsumer({.group = group, .listener = &listener});
  REQUIRE(consumer.ok());
  REQUIRE((*consumer)->Subscribe({topic}).ok());
  return *std::move(consumer);
}

void ResumesFromCommittedOffsets(EventLog& log) {
  const std::string topic = NewTopic(log, 1);
  const std::string group = Unique("group");
  Fill(log, topic, 0, {"a", "b", "c"});
  {
    Listener listener;
    const auto consumer = Member(log, group, topic, listener);
    REQUIRE(Values(ReadRecords(*consumer, 3)) == Strings{"a", "b", "c"});
    REQUIRE(listener.last_assigned.size() == 1);
    CHECK(listener.last_assigned[0].offset == -1);
    const Status committed =
        consumer->Commit(std::vector<CommittedOffset>{{{topic, 0}, 2, "note"}});
    INFO(Message(committed));
    REQUIRE(committed.ok());
  }
  const auto committed = log.Committed(group, topic);
  REQUIRE(committed.ok());
  REQUIRE(committed->size() == 1);
  CHECK((*committed)[0].offset == 2);
  CHECK((*committed)[0].metadata == "note");
  Listener listener;
  const auto consumer = Member(log, group, topic, listener);
  CHECK(Values(ReadRecords(*consumer, 1)) == Strings{"c"});
  REQUIRE(listener.last_assigned.size() == 1);
  CHECK(listener.last_assigned[0].offset == 2);
  CHECK(listener.last_assigned[0].metadata == "note");
}

void GroupsDoNotDisturbEachOther(EventLog& log) {
  const std::string topic = NewTopic(log, 1);
  Fill(log, topic, 0, {"a", "b"});
  Listener one;
  Listener two;
  const auto first = Member(log, Unique("group"), topic, one);
  const auto second = Member(log, Unique("group"), topic, two);
  CHECK(Values(ReadRecords(*first, 2)) == Strings{"a", "b"});
  CHECK(Values(ReadRecords(*second, 2)) == Strings{"a", "b"});
}

void UncommittedPartitionsSayMinusOne(EventLog& log) {
  const std::string topic = NewTopic(log, 2);
  const auto committed = log.Committed(Unique("group"), topic);
  REQUIRE(committed.ok());
  REQUIRE(committed->size() == 2);
  CHECK((*committed)[0].offset == -1);
  CHECK((*committed)[1].offset == -1);
}

void MembersShareAndInherit(EventLog& log) {
  const std::string topic = NewTopic(log, 4);
  const std::string group = Unique("group");
  Listener one;
  Listener two;
  std::vector<Read> reads;
  auto first = Member(log, group, topic, one);
  REQUIRE(PollUntil({first.get()}, reads, [&] { return one.owned.size() == 4; }));
  auto second = Member(log, group, topic, two);
  REQUIRE(PollUntil({first.get(), second.get()}, reads,
                    [&] { return one.owned.size() == 2 && two.owned.size() == 2; }));
  for (const TopicPartition& partition : one.owned) {
    CHECK(std::ranges::count(two.owned, partition) == 0);
  }
  const TopicPartition foreign = two.owned.front();
  CHECK(first->Commit(std::vector<CommittedOffset>{{foreign, 0, ""}}).code() ==
        StatusCode::kFailedPrecondition);

  for (int32_t p = 0; p < 4; ++p) Fill(log, topic, p, {"v" + std::to_string(p)});
  REQUIRE(PollUntil({first.get(), second.get()}, reads, [&] { return reads.size() == 4; }));
  REQUIRE(second->Commit(std::vector<CommittedOffset>{{foreign, 1, ""}}).ok());

  second.reset();
  std::vector<Read> again;
  REQUIRE(PollUntil({first.get()}, again, [&] { return one.owned.size() == 4; }));
  const std::string fresh = "fresh";
  Fill(log, topic, foreign.partition, {fresh});
  REQUIRE(PollUntil({first.get()}, again,
                    [&] { return std::ranges::count(Values(again), fresh) == 1; }));
  // What the group has committed does not come again.
  CHECK(std::ranges::count_if(again, [&](const Read& read) {
          return read.partition == foreign && read.offset == 0;
        }) == 0);
}

void NewOwnersReadFromTheirSeek(EventLog& log) {
  const std::string topic = NewTopic(log, 1);
  Fill(log, topic, 0, {"a", "b", "c"});
  class Seeker final : public RebalanceListener {
   public:
    void OnAssigned(std::span<const CommittedOffset> partitions) override {
      for (const CommittedOffset& p : partitions) CHECK(consumer->Seek(p.partition, 2).ok());
    }
    void OnRevoked(std::span<const TopicPartition>) override {}
    Consumer* consumer = nullptr;
  };
  Seeker seeker;
  auto consumer = log.NewConsumer({.group = Unique("group"), .listener = &seeker});
  REQUIRE(consumer.ok());
  seeker.consumer = consumer->get();
  REQUIRE((*consumer)->Subscribe({topic}).ok());
  CHECK(Values(ReadRecords(**consumer, 1)) == Strings{"c"});
}

}  // namespace

std::vector<Case> GroupCases() {
  return {{"a group resumes from its committed offsets", ResumesFromCommittedOffsets},
          {"groups do not disturb each other", GroupsDoNotDisturbEachOther},
          {"partitions without a commit say -1", UncommittedPartitionsSayMinusOne},
          {"members share partitions and inherit them", MembersShareAndInherit},
          {"a Seek within OnAssigned decides where reading starts", NewOwnersReadFromTheirSeek}};
}

}  // namespace millrace::event_log::contract
