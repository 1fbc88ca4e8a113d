#pragma once

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

namespace millrace::processor {

/// What one batch comes to: the records to append and what became of each event. Owns the bytes that
/// the records point to, but for those of the batch, which must outlive it.
class Outputs {
 public:
  Outputs(const FanOut& fan_out, int64_t now_us) : fan_out_(fan_out), now_us_(now_us) {}

  /// Counts the event and, as its state and the source's connections say, emits it.
  void Add(const Event& event);
  void AddChangelog(int32_t partition, std::string packed);
  /// Puts the counts in; nothing may be added afterwards.
  void Finish();

  const std::vector<event_log::TopicRecord>& records() const { return records_; }
  using CountKey = std::tuple<std::string, std::string, accounting::v1::Fate, std::string>;
  /// (source, destination, fate, reason) -> events.
  const std::map<CountKey, int64_t>& counts() const { return counts_; }
  /// Events whose integrations object has an `All` that is no boolean.
  int64_t bad_integrations() const { return bad_integrations_; }

 private:
  void Emit(const Event& event, const Route& route);
  void DeadLetter(const Event& event);
  void Count(std::string_view source, std::string_view destination, accounting::v1::Fate fate,
             std::string_view reason = {});
  std::string_view Keep(std::string text) { return kept_.emplace_back(std::move(text)); }

  const FanOut& fan_out_;
  const int64_t now_us_;
  std::deque<std::string> kept_;
  std::vector<event_log::TopicRecord> records_;
  std::map<CountKey, int64_t> counts_;
  int64_t bad_integrations_ = 0;
};

}  // namespace millrace::processor
