#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "libs/event_log/event_log.h"
#include "millrace/accounting/v1/accounting.pb.h"
#include "services/processor/event_batch.h"
#include "services/processor/fan_out.h"
#include "services/processor/missing_topics.h"
#include "services/processor/transform_stage.h"

namespace millrace::processor {

/// What one batch comes to: the records to append and what became of each event. Owns the bytes
/// that the records point to, but for the user keys, which are those of the poll.
class Outputs {
 public:
  /// `max_bytes`: of the records; see overfull().
  Outputs(const FanOut& fan_out, const MissingTopics::Reasons& missing, int64_t now_us,
          size_t max_bytes)
      : fan_out_(fan_out), missing_(missing), now_us_(now_us), max_bytes_(max_bytes) {}

  /// Counts the event and, as its state and the source's connections say, emits it, or keeps it for
  /// the transformations that come before its destinations.
  void Add(Event event);
  /// What waits for its transformations. Run them, then call AddChained.
  std::vector<ChainRun>& chained() { return chained_; }
  /// Counts and emits what they made of it.
  void AddChained();
  void AddRecord(std::string_view topic, int32_t partition, std::string value);
  /// Counts records that gateways appended and that did not come; negative: they came after all.
  void AddLost(int64_t records);
  /// Puts the counts in; nothing may be added afterwards.
  void Finish();

  const std::vector<event_log::TopicRecord>& records() const { return records_; }
  /// Of the records' keys, metadata and values.
  size_t bytes() const { return bytes_; }
  /// The events become more than `max_bytes`. What comes after that is left out: this object is of
  /// no more use, and the events are to be tried again with fewer at a time.
  bool overfull() const { return bytes_ > max_bytes_; }
  using CountKey = std::tuple<std::string, std::string, accounting::v1::Fate, std::string>;
  /// (source, destination, fate, reason) -> events.
  const std::map<CountKey, int64_t>& counts() const { return counts_; }
  /// Events whose integrations object has an `All` that is no boolean.
  int64_t bad_integrations() const { return bad_integrations_; }

 private:
  using Routes = std::vector<const Route*>;
  void AddRedriven(Event event);
  void AddToRoutes(Event event, const SourceRoutes& source, const Route* only);
  void Chain(Event event, const SourceRoutes& source, int group, Routes routes);
  void Emit(const Event& event, const Route& route);
  void EmitNowhere(const Event& event, const Route& route, std::string_view reason);
  /// `destination_id` empty: it failed before fan-out.
  void DeadLetter(const Event& event, const std::string& destination_id);
  void Sort();
  void Count(std::string_view source, std::string_view destination, accounting::v1::Fate fate,
             std::string_view reason = {}, int64_t events = 1);
  void AddRecord(event_log::TopicRecord record, size_t order);
  std::string_view Keep(std::string text) { return kept_.emplace_back(std::move(text)); }

  const FanOut& fan_out_;
  const MissingTopics::Reasons& missing_;
  const int64_t now_us_;
  const size_t max_bytes_;
  size_t bytes_ = 0;
  std::deque<std::string> kept_;
  std::vector<Bytes> held_;  // what records point to and no event of the batch holds any more
  std::vector<event_log::TopicRecord> records_;
  std::vector<size_t> orders_;  // one a record: of the event it came from
  std::vector<ChainRun> chained_;
  std::vector<std::vector<Routes>> chained_routes_;  // one a run; one an event that came to it
  std::map<std::pair<const SourceRoutes*, int>, size_t> run_of_;
  std::map<CountKey, int64_t> counts_;
  int64_t bad_integrations_ = 0;
};

}  // namespace millrace::processor
