#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "libs/event_log/event_log.h"
#include "millrace/accounting/v1/accounting.pb.h"
#include "millrace/delivery/v1/delivery.pb.h"

namespace millrace::warehouse_loader {

struct OwnedRecord {
  std::string_view topic;
  std::string key;
  std::string value;
};

/// What became of the events of one load: counts by partition, statuses and dead letters. One
/// thread.
class Outcomes {
 public:
  void AddLoaded(const event_log::TopicPartition& partition,
                 const delivery::v1::DeliveryMeta& meta);
  /// The event can never be loaded.
  void AddDeadLetter(const event_log::TopicPartition& partition, std::string_view key,
                     const event_log::ConsumedRecord& record,
                     const delivery::v1::DeliveryMeta& meta, std::string_view reason,
                     int64_t now_us);
  void Clear();

  /// Serialised Counters of what was read of a partition; the same whenever it is asked for.
  std::string CountersOf(const event_log::TopicPartition& partition, int64_t last_offset) const;
  const std::vector<OwnedRecord>& dead_letters() const { return dead_letters_; }
  /// Delivery statuses as records of a size that any log takes.
  std::vector<OwnedRecord> TakeStatuses(int64_t now_us);

  const std::string& workspace_id() const { return workspace_id_; }

 private:
  using CountKey = std::tuple<std::string, std::string, accounting::v1::Fate, std::string>;

  void Count(const event_log::TopicPartition& partition, const delivery::v1::DeliveryMeta& meta,
             accounting::v1::Fate fate, std::string_view reason);

  std::string workspace_id_;
  std::map<event_log::TopicPartition, std::map<CountKey, int64_t>> counts_;
  std::vector<delivery::v1::DeliveryStatus> statuses_;
  std::vector<OwnedRecord> dead_letters_;
};

}  // namespace millrace::warehouse_loader
