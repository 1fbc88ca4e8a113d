#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "millrace/accounting/v1/accounting.pb.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "services/router/commit_job.h"

namespace millrace::router {

/// Gathers the outcomes of events until the next commit. One thread.
class Results {
 public:
  /// The final outcome of an event; `reason` is empty unless it was dead-lettered.
  void AddFinal(const delivery::v1::DeliveryMeta& meta, delivery::v1::Outcome outcome,
                int http_status, uint32_t attempts, int64_t now_us, std::string_view reason,
                std::string_view error_class);
  /// Says that an event is being retried; changes no count.
  void AddRetrying(const delivery::v1::DeliveryMeta& meta, int http_status, uint32_t attempts,
                   int64_t now_us, std::string_view reason);
  void AddDeadLetter(std::string_view user_key, const delivery::v1::DeadLetter& letter);

  bool empty() const {
    return statuses_.empty() && full_statuses_.empty() && dead_letters_.empty();
  }
  size_t finished() const { return finished_; }
  /// All of it as records; empty afterwards.
  std::vector<OwnedRecord> Take(int64_t now_us);

 private:
  using CountKey = std::tuple<std::string, std::string, accounting::v1::Fate, std::string>;

  delivery::v1::DeliveryStatus& NewStatus(const delivery::v1::DeliveryMeta& meta);

  // By workspace; a batch that is full becomes a record at once.
  std::map<std::string, delivery::v1::DeliveryStatusBatch, std::less<>> statuses_;
  std::vector<OwnedRecord> full_statuses_;
  std::map<std::string, std::map<CountKey, int64_t>, std::less<>> counts_;
  std::vector<OwnedRecord> dead_letters_;
  size_t finished_ = 0;
};

}  // namespace millrace::router
