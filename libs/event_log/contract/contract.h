#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/event_log/event_log.h"

/// What every EventLog must do, as Catch2 sections that a backend's test runs:
///
///   TEST_CASE("the local log keeps the contract", "[contract]") {
///     contract::Run([] { return OpenOnFreshFolder(); });
///   }
///
/// Every case uses topics and groups of its own (random names), so one server may serve them all.
namespace millrace::event_log::contract {

using Factory = std::function<std::unique_ptr<EventLog>()>;

/// Runs every case on a log of its own made by `make`, each as a section of the running test case.
void Run(const Factory& make);

struct Case {
  const char* name;
  void (*run)(EventLog& log);
};
std::vector<Case> ConsumerCases();
std::vector<Case> GroupCases();
std::vector<Case> TransactionCases();
std::vector<Case> TopicCases();

/// A record read, copied out of its batch.
struct Read {
  TopicPartition partition;
  int64_t offset = 0;
  std::string key;
  std::string meta;
  std::string value;
};

/// "name-" and a random part.
std::string Unique(std::string_view name);
/// A new topic of a unique name.
std::string NewTopic(EventLog& log, int32_t partitions);
/// Appends and waits for the answer.
Status AppendAll(EventLog& log, const std::vector<TopicRecord>& records);
/// Appends one record per value to a partition; requires success.
void Fill(EventLog& log, const std::string& topic, int32_t partition,
          const std::vector<std::string>& values);
/// Polls until `count` records are read (at most a minute) and then once more, so that surplus
/// shows.
std::vector<Read> ReadRecords(Consumer& consumer, size_t count);
std::vector<std::string> Values(const std::vector<Read>& records);
/// A consumer outside groups that reads all partitions of `topic` from the oldest record.
std::unique_ptr<Consumer> ReaderOf(EventLog& log, const std::string& topic);

/// Notes what it is told.
class Listener final : public RebalanceListener {
 public:
  void OnAssigned(std::span<const CommittedOffset> partitions) override;
  void OnRevoked(std::span<const TopicPartition> partitions) override;
  std::vector<TopicPartition> owned;  // sorted
  std::vector<CommittedOffset> last_assigned;
};

/// Polls the consumers in turn until `done` (at most a minute); the records read go to `reads`.
bool PollUntil(std::vector<Consumer*> consumers, std::vector<Read>& reads,
               const std::function<bool()>& done);

}  // namespace millrace::event_log::contract
