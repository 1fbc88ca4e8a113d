#include <catch2/catch.hpp>

#include "libs/event_log/contract/contract.h"

namespace millrace::event_log::contract {
namespace {

using Strings = std::vector<std::string>;

void CommitShowsAllAbortNothing(EventLog& log) {
  const std::string left = NewTopic(log, 1);
  const std::string right = NewTopic(log, 1);
  auto transaction = log.NewTransaction(Unique("producer"));
  REQUIRE(transaction.ok());
  const auto reader = ReaderOf(log, left);

  REQUIRE((*transaction)->Begin().ok());
  REQUIRE((*transaction)
              ->Append(std::vector<TopicRecord>{{left, {.value = "dropped", .partition = 0}}})
              .ok());
  REQUIRE((*transaction)->Abort().ok());

  REQUIRE((*transaction)->Begin().ok());
  REQUIRE((*transaction)
              ->Append(std::vector<TopicRecord>{{left, {.value = "l", .partition = 0}},
                                                {right, {.value = "r", .partition = 0}}})
              .ok());
  CHECK(ReadRecords(*reader, 0).empty());
  REQUIRE((*transaction)->Commit().ok());
  CHECK(Values(ReadRecords(*reader, 1)) == Strings{"l"});
  CHECK(Values(ReadRecords(*ReaderOf(log, right), 1)) == Strings{"r"});
}

void OffsetsMoveWithTheRecords(EventLog& log) {
  const std::string in = NewTopic(log, 1);
  const std::string out = NewTopic(log, 1);
  const std::string group = Unique("group");
  Fill(log, in, 0, {"a", "b"});
  auto consumer = log.NewConsumer({.group = group});
  REQUIRE(consumer.ok());
  REQUIRE((*consumer)->Subscribe({in}).ok());
  REQUIRE(ReadRecords(**consumer, 2).size() == 2);
  auto transaction = log.NewTransaction(Unique("producer"));
  REQUIRE(transaction.ok());

  const auto move = [&](int64_t offset, const std::string& value) {
    REQUIRE((*transaction)->Begin().ok());
    REQUIRE((*transaction)
                ->Append(std::vector<TopicRecord>{{out, {.value = value, .partition = 0}}})
                .ok());
    REQUIRE((*transaction)
                ->AddOffsets(**consumer, std::vector<CommittedOffset>{{{in, 0}, offset, value}})
                .ok());
  };
  const auto committed = [&] {
    const auto offsets = log.Committed(group, in);
    REQUIRE(offsets.ok());
    return offsets->at(0);
  };
  move(2, "aborted");
  REQUIRE((*transaction)->Abort().ok());
  CHECK(committed().offset == -1);
  move(1, "moved");
  REQUIRE((*transaction)->Commit().ok());
  CHECK(committed().offset == 1);
  CHECK(committed().metadata == "moved");
  CHECK(Values(ReadRecords(*ReaderOf(log, out), 1)) == Strings{"moved"});
}

void DestructionAborts(EventLog& log) {
  const std::string topic = NewTopic(log, 1);
  {
    auto transaction = log.NewTransaction(Unique("producer"));
    REQUIRE(transaction.ok());
    REQUIRE((*transaction)->Begin().ok());
    REQUIRE((*transaction)
                ->Append(std::vector<TopicRecord>{{topic, {.value = "x", .partition = 0}}})
                .ok());
  }
  Fill(log, topic, 0, {"after"});
  CHECK(Values(ReadRecords(*ReaderOf(log, topic), 1)) == Strings{"after"});
}

void ANewerOwnerFencesTheOlder(EventLog& log) {
  const std::string topic = NewTopic(log, 1);
  const std::string id = Unique("producer");
  auto older = log.NewTransaction(id);
  REQUIRE(older.ok());
  REQUIRE((*older)->Begin().ok());
  REQUIRE(
      (*older)->Append(std::vector<TopicRecord>{{topic, {.value = "old", .partition = 0}}}).ok());
  auto newer = log.NewTransaction(id);
  REQUIRE(newer.ok());
  CHECK((*older)->Commit().code() == StatusCode::kFailedPrecondition);
  REQUIRE((*newer)->Begin().ok());
  REQUIRE(
      (*newer)->Append(std::vector<TopicRecord>{{topic, {.value = "new", .partition = 0}}}).ok());
  REQUIRE((*newer)->Commit().ok());
  CHECK(Values(ReadRecords(*ReaderOf(log, topic), 1)) == Strings{"new"});
}

}  // namespace

std::vector<Case> TransactionCases() {
  return {{"a commit shows all, an abort nothing", CommitShowsAllAbortNothing},
          {"offsets move with the records", OffsetsMoveWithTheRecords},
          {"destruction aborts", DestructionAborts},
          {"a newer owner of the id fences the older", ANewerOwnerFencesTheOlder}};
}

}  // namespace millrace::event_log::contract
