// A log under random use, on a disk that fails, loses power and is too small, against what it
// promised.
#include <catch2/catch.hpp>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <random>
#include <set>

#include "libs/event_log/contract/contract.h"
#include "libs/event_log/local/test_log.h"
#include "libs/event_log/local/weak_io.h"

namespace millrace::event_log {
namespace {

constexpr int32_t kPartitions = 2;
constexpr std::chrono::seconds kTime{4};  // as many seeds as fit

class RandomIo final : public WeakIo {
 public:
  explicit RandomIo(unsigned seed) : random_(seed) {}
  std::atomic<int> one_in{0};  // calls that fail; 0: none

 protected:
  bool Fails() override {
    const int rate = one_in;
    return rate > 0 && random_() % static_cast<unsigned>(rate) == 0;
  }
  bool Survives() override { return random_() % 3 == 0; }

 private:
  std::minstd_rand random_;
};

// MILLRACE_STRESS_SEED=N runs one seed.

/// Events go into "in", a transaction moves them to "out", from where they are read; those in
/// "slow" are read seldom. What comes out of each partition must be all that was acknowledged,
/// once, in order.
class World {
 public:
  explicit World(unsigned seed) : random_(seed), io_(seed) { Open(); }

  /// Some time of use that ends in a crash and a new start.
  void Live() {
    const int steps = Between(5, 120);
    for (int i = 0; i < steps; ++i) Step();
    Crash();
    Open();
    CheckNoise();
  }

  /// With a disk in order, all comes out.
  void Settle() {
    io_.one_in = 0;
    clock_.Advance(std::chrono::hours(100));  // what nobody reads is old
    for (int rounds = 0; !Complete(); ++rounds) {
      INFO("stuck");
      REQUIRE(rounds < 3000);
      Move();
      Read(*reader_, true);
      Read(*slow_, true);
    }
    for (const auto& [partition, numbers] : out_) {
      int64_t last = -1;
      for (const auto& [offset, number] : numbers) {
        CAPTURE(partition.topic, partition.partition, offset, number, last);
        REQUIRE(number > last);
        last = number;
      }
    }
    // And it goes on: all is read or old.
    Status status;
    for (int tries = 0; tries < 50; ++tries) {
      status = Append("in", 0, Between(10, 2000));
      if (status.ok()) return;
      Move();
      Read(*reader_, true);
      Read(*slow_, true);
    }
    INFO(Message(status));
    REQUIRE(status.ok());
  }

 private:
  int Between(int from, int to) { return std::uniform_int_distribution<int>(from, to)(random_); }

  void Open() {
    options_.path = folder_.path();
    options_.clock = &clock_;
    options_.io = &io_;
    options_.quota_bytes = static_cast<uint64_t>(Between(4, 12)) << 20;
    options_.segment_bytes = static_cast<uint64_t>(Between(128, 512)) << 10;
    options_.maintenance_interval = std::chrono::milliseconds(Between(1, 20));
    log_ = event_log::Open(options_);
    retention_ = std::chrono::hours(Between(1, 4));
    Ensure("in", "mover");
    Ensure("out", "reader");
    Ensure("slow", "slow");
    Ensure("noise", "");
    transaction_ = *log_->NewTransaction("mover");
    mover_ = Member("mover", "in");
    reader_ = Member("reader", "out");
    slow_ = Member("slow", "slow");
  }

  /// An empty reader: what is old goes.
  void Ensure(const std::string& topic, const std::string& reader) {
    TopicOptions options{.partitions = kPartitions};
    if (reader.empty()) {
      options.retention = retention_;
    } else {
      options.readers = {reader};
    }
    while (!log_->EnsureTopic(topic, options).ok()) continue;  // the disk may fail
  }

  std::unique_ptr<Consumer> Member(const std::string& group, const std::string& topic) {
    auto consumer = *log_->NewConsumer({.group = group});
    REQUIRE(consumer->Subscribe({topic}).ok());
    return consumer;
  }

  void Crash() {
    io_.one_in = 1;  // nothing reaches the disk any more
    (void)Append("noise", 0,
                 10);  // what the log did before is done: a killed process leaves no group
    transaction_.reset();
    mover_.reset();
    reader_.reset();
    slow_.reset();
    log_.reset();
    io_.one_in = 0;
    if (Between(0, 1) == 0) io_.LosePower();
  }

  void Step() {
    const int32_t partition = Between(0, kPartitions - 1);
    switch (Between(0, 14)) {
      case 0:
        io_.one_in = Between(0, 2) == 0 ? Between(2, 30) : 0;
        return;
      case 1:
        return clock_.Advance(std::chrono::minutes(Between(-20, 90)));
      case 2:
        (void)Append("noise", partition, Between(10, 60'000));
        return;
      case 3:
        (void)Append("slow", partition, Between(10, Between(0, 3) == 0 ? 30'000 : 300));
        return;
      case 4:
        if (Between(0, 4) == 0) Read(*slow_, true);
        if (Between(0, 9) == 0) Forget();
        return;
      case 13:
        return TrimNoise(partition);
      case 14:
        if (Between(0, 3) == 0) Ensure("slow", "slow");
        return;
      case 5:
      case 6:
        return Move();
      case 7:
      case 8:
        return Read(*reader_, Between(0, 1) == 0);
      default:
        (void)Append("in", partition, Between(10, Between(0, 3) == 0 ? 150'000 : 6'000));
    }
  }

  /// What was in "noise" never comes back.
  void Forget() {
    if (!log_->DeleteTopic("noise").ok()) return;
    first_noise_ = next_;
    trimmed_.clear();
    Ensure("noise", "");
  }

  /// What is trimmed never comes back either.
  void TrimNoise(int32_t partition) {
    const int64_t end = log_->Describe("noise")->at(static_cast<size_t>(partition)).end_offset;
    const int64_t before = Between(0, static_cast<int>(end));
    if (!log_->Trim({"noise", partition}, before).ok()) return;
    trimmed_[partition] = std::max(trimmed_[partition], before);
    REQUIRE(log_->Describe("noise")->at(static_cast<size_t>(partition)).begin_offset >= before);
  }

  void CheckNoise() {
    const auto reader = contract::ReaderOf(*log_, "noise");
    for (;;) {
      const auto batch = reader->Poll({.timeout = std::chrono::milliseconds(0)});
      REQUIRE(batch.ok());
      if (batch->records.empty()) return;
      for (const ConsumedRecord& record : batch->records) {
        REQUIRE(std::stoll(std::string(record.value.substr(0, 20))) >= first_noise_);
        REQUIRE(record.offset >= trimmed_[batch->source_of(record).partition]);
      }
    }
  }

  /// One to five records in one call.
  Status Append(const std::string& topic, int32_t partition, int bytes) {
    std::vector<std::string> values;
    for (int i = Between(1, 5); i > 0; --i) {
      values.push_back(std::to_string(next_++) + std::string(static_cast<size_t>(bytes), ' '));
    }
    std::vector<TopicRecord> records;
    for (const std::string& value : values) {
      records.push_back({topic, {.value = value, .partition = partition}});
    }
    const Status status = contract::AppendAll(*log_, records);
    if (status.ok() && topic != "noise") {
      auto& acknowledged = acknowledged_[{topic == "in" ? "out" : topic, partition}];
      for (const std::string& value : values) acknowledged.insert(std::stoll(value));
    }
    return status;
  }

  void Move() {
    const auto batch = mover_->Poll({.max_records = static_cast<size_t>(Between(1, 40)),
                                     .timeout = std::chrono::milliseconds(0)});
    REQUIRE(batch.ok());
    if (batch->records.empty()) return;
    std::vector<TopicRecord> moved;
    std::map<TopicPartition, int64_t> next;
    for (const ConsumedRecord& record : batch->records) {
      const TopicPartition& source = batch->source_of(record);
      moved.push_back({"out", {.value = record.value, .partition = source.partition}});
      next[source] = record.offset + 1;
    }
    std::vector<CommittedOffset> offsets;
    for (const auto& [partition, offset] : next) offsets.push_back({partition, offset, ""});
    REQUIRE(transaction_->Begin().ok());
    REQUIRE(transaction_->Append(moved).ok());
    REQUIRE(transaction_->AddOffsets(*mover_, offsets).ok());
    if (transaction_->Commit().ok()) return;
    const auto committed = log_->Committed("mover", "in");
    REQUIRE(committed.ok());
    for (const CommittedOffset& offset : *committed) {
      if (next.contains(offset.partition)) {
        REQUIRE(mover_->Seek(offset.partition, offset.offset).ok());
      }
    }
  }

  void Read(Consumer& consumer, bool commit) {
    const auto batch = consumer.Poll({.max_records = static_cast<size_t>(Between(1, 200)),
                                      .timeout = std::chrono::milliseconds(0)});
    REQUIRE(batch.ok());
    std::map<TopicPartition, int64_t> next;
    for (const ConsumedRecord& record : batch->records) {
      const TopicPartition& partition = batch->source_of(record);
      const int64_t number = std::stoll(std::string(record.value.substr(0, 20)));
      const auto known = out_[partition].try_emplace(record.offset, number).first;
      CAPTURE(partition.topic, partition.partition, record.offset);
      REQUIRE(known->second == number);
      next[partition] = record.offset + 1;
    }
    if (!commit) return;
    std::vector<CommittedOffset> offsets;
    for (const auto& [partition, offset] : next) offsets.push_back({partition, offset, ""});
    (void)consumer.Commit(offsets);
  }

  bool Complete() {
    for (const auto& [partition, numbers] : acknowledged_) {
      std::set<int64_t> arrived;
      for (const auto& [offset, number] : out_[partition]) arrived.insert(number);
      if (!std::ranges::includes(arrived, numbers)) return false;
    }
    return true;
  }

  std::minstd_rand random_;
  TestFolder folder_;
  SharedClock clock_;
  RandomIo io_;
  LocalLogOptions options_;
  std::unique_ptr<EventLog> log_;
  std::unique_ptr<Transaction> transaction_;
  std::unique_ptr<Consumer> mover_;
  std::unique_ptr<Consumer> reader_;
  std::unique_ptr<Consumer> slow_;
  int64_t next_ = 0;
  int64_t first_noise_ = 0;
  std::chrono::milliseconds retention_{0};
  std::map<int32_t, int64_t> trimmed_;                        // of "noise", by partition
  std::map<TopicPartition, std::set<int64_t>> acknowledged_;  // by where it comes out
  std::map<TopicPartition, std::map<int64_t, int64_t>> out_;  // offset -> number, as read
};

TEST_CASE("all that was acknowledged comes out once and in order, whatever the disk does",
          "[local_log][stress]") {
  const char* const chosen = std::getenv("MILLRACE_STRESS_SEED");
  const unsigned first = chosen == nullptr ? 1 : static_cast<unsigned>(std::atoi(chosen));
  const auto end = std::chrono::steady_clock::now() + kTime;
  for (unsigned seed = first; std::chrono::steady_clock::now() < end; ++seed) {
    CAPTURE(seed);
    World world(seed);
    for (int lives = 0; lives < 12; ++lives) world.Live();
    world.Settle();
    if (chosen != nullptr) return;
  }
}

}  // namespace
}  // namespace millrace::event_log
