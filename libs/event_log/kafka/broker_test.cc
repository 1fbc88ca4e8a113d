// Runs against a real broker, whose address is in MILLRACE_TEST_KAFKA (tests/support/kafka.sh).
#include <catch2/catch.hpp>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <future>
#include <iostream>
#include <set>

#include "libs/base/ids.h"
#include "libs/event_log/contract/contract.h"
#include "libs/event_log/kafka/kafka_log.h"

namespace millrace::event_log {
namespace {

constexpr int kMessages = 20'000;
constexpr int kPerRound = 100;
constexpr auto kPatience = std::chrono::seconds(90);

std::string Env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool HasBroker() {
  if (!Env("MILLRACE_TEST_KAFKA").empty()) return true;
  std::cout << "skipped: MILLRACE_TEST_KAFKA is unset (see tests/support/kafka.sh)\n";
  return false;
}

std::unique_ptr<EventLog> Open(const std::string& prefix) {
  StatusOr<std::unique_ptr<EventLog>> log =
      OpenKafkaLog({.brokers = Env("MILLRACE_TEST_KAFKA"),
                    .prefix = prefix,
                    .properties = {{"session.timeout.ms", "6000"}},
                    .trim_interval = std::chrono::milliseconds(500)});
  INFO(Message(log.status()));
  REQUIRE(log.ok());
  return *std::move(log);
}

std::string Prefix() {
  return "test-" + NewUuid().substr(0, 13) + ".";
}

/// Reads one batch, hands each value to `seen`, and commits it.
template <typename Seen>
void ReadAndCommit(Consumer& consumer, Seen&& seen) {
  const StatusOr<RecordBatch> batch = consumer.Poll({.timeout = std::chrono::milliseconds(5)});
  INFO(Message(batch.status()));
  REQUIRE(batch.ok());
  std::map<TopicPartition, int64_t> next;
  for (const ConsumedRecord& record : batch->records) {
    seen(record.value);
    next[batch->source_of(record)] = record.offset + 1;
  }
  std::vector<CommittedOffset> offsets;
  for (const auto& [partition, offset] : next) offsets.push_back({partition, offset, {}});
  const Status status = consumer.Commit(offsets);
  INFO(Message(status));
  REQUIRE(status.ok());
}

/// This binary again, as a consumer that notes what it read in `file` until it is killed.
pid_t SpawnReader(const std::string& prefix, const std::string& file) {
  std::vector<std::string> words = {"MILLRACE_TEST_PREFIX=" + prefix, "MILLRACE_TEST_FILE=" + file,
                                    "MILLRACE_TEST_KAFKA=" + Env("MILLRACE_TEST_KAFKA")};
  std::vector<char*> environment;
  for (std::string& word : words) environment.push_back(word.data());
  environment.push_back(nullptr);
  std::string program = "/proc/self/exe";
  std::string test = "[.reader]";
  char* arguments[] = {program.data(), test.data(), nullptr};
  pid_t child = 0;
  REQUIRE(posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environment.data()) ==
          0);
  return child;
}

size_t ReadNumbers(const std::string& file, std::set<int>& numbers) {
  std::ifstream in(file);
  size_t count = 0;
  for (int number = 0; in >> number; ++count) numbers.insert(number);
  return count;
}

}  // namespace

TEST_CASE("Kafka keeps the contract of the event log", "[contract]") {
  if (!HasBroker()) return;
  contract::Run([] { return Open(Prefix()); });
}

TEST_CASE("reader that is killed", "[.reader]") {
  const auto log = Open(Env("MILLRACE_TEST_PREFIX"));
  const int file = open(Env("MILLRACE_TEST_FILE").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  REQUIRE(file >= 0);
  auto consumer = log->NewConsumer({.group = "group"});
  REQUIRE(consumer.ok());
  REQUIRE((*consumer)->Subscribe({"numbers"}).ok());
  while (true) {
    ReadAndCommit(**consumer, [&](std::string_view value) {
      const std::string line = std::string(value) + "\n";
      REQUIRE(write(file, line.data(), line.size()) == static_cast<ssize_t>(line.size()));
    });
  }
}

TEST_CASE("no record is lost while members join, leave and die", "[rebalance]") {
  if (!HasBroker()) return;
  const std::string prefix = Prefix();
  const auto log = Open(prefix);
  REQUIRE(log->EnsureTopic("numbers", {.partitions = 6}).ok());
  auto appender = log->NewAppender();
  REQUIRE(appender.ok());
  char file[] = "/tmp/millrace-kafka-test.XXXXXX";
  close(mkstemp(file));

  int sent = 0;
  const auto send = [&] {
    std::vector<std::string> values;
    for (int i = 0; i < kPerRound; ++i) values.push_back(std::to_string(sent++));
    std::vector<TopicRecord> records;
    for (const std::string& value : values) {
      records.push_back({"numbers", {.key = value, .value = value}});
    }
    std::promise<Status> answer;
    (*appender)->Append(records, [&](Status status) { answer.set_value(std::move(status)); });
    REQUIRE(answer.get_future().get().ok());
  };
  const auto join = [&](RebalanceListener* listens) {
    auto consumer = log->NewConsumer({.group = "group", .listener = listens});
    REQUIRE(consumer.ok());
    REQUIRE((*consumer)->Subscribe({"numbers"}).ok());
    return *std::move(consumer);
  };

  std::set<int> numbers;
  size_t reads = 0;
  const auto see = [&](std::string_view value) {
    numbers.insert(std::stoi(std::string(value)));
    ++reads;
  };
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  contract::Listener listener;
  std::unique_ptr<Consumer> first = join(&listener);
  std::unique_ptr<Consumer> second;
  pid_t child = 0;
  bool killed = false;
  bool left = false;
  while (static_cast<int>(numbers.size()) < kMessages &&
         std::chrono::steady_clock::now() < deadline) {
    std::set<int> of_child;
    const bool child_reads = child != 0 && !killed && ReadNumbers(file, of_child) > 200;
    // The last third waits until all three have joined, so that the child dies at work.
    const bool all_joined = child != 0 && listener.owned.size() == 2;
    if (sent < kMessages * 2 / 3 || (sent < kMessages && (killed || all_joined))) send();
    ReadAndCommit(*first, see);
    if (second != nullptr) ReadAndCommit(*second, see);
    if (second == nullptr && !left && sent >= kMessages / 5) second = join(nullptr);
    if (child == 0 && sent >= kMessages * 2 / 5) child = SpawnReader(prefix, file);
    if (child_reads) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
      killed = true;
    }
    if (killed && !left && sent >= kMessages * 4 / 5) {
      second.reset();
      left = true;
    }
    if (killed) ReadNumbers(file, numbers);
  }
  if (!killed) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  reads += ReadNumbers(file, numbers);
  unlink(file);
  CHECK(killed);
  CHECK(left);
  CHECK(numbers.size() == kMessages);  // lost: none
  std::cout << "rebalance: " << reads - numbers.size() << " of " << kMessages << " read twice\n";
}

}  // namespace millrace::event_log
