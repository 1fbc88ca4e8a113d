#include "services/router/results.h"

#include <utility>

#include "libs/base/text.h"

namespace millrace::router {
namespace {

// Ids are at most 4 KiB and reasons 1 KB, so that a record stays far below what a Kafka broker
// takes, however long the log was away and however much was delivered meanwhile.
constexpr int kStatusesOfRecord = 100;
constexpr size_t kReasonBytes = 1000;

accounting::v1::Fate FateOf(delivery::v1::Outcome outcome) {
  switch (outcome) {
    case delivery::v1::DELIVERED:
      return accounting::v1::DELIVERED;
    case delivery::v1::FILTERED:
      return accounting::v1::FILTERED;
    default:
      return accounting::v1::DEAD_LETTERED;
  }
}

}  // namespace

delivery::v1::DeliveryStatus& Results::NewStatus(const delivery::v1::DeliveryMeta& meta) {
  auto& batch = statuses_[meta.workspace_id()];
  if (batch.workspace_id().empty()) batch.set_workspace_id(meta.workspace_id());
  if (batch.statuses_size() >= kStatusesOfRecord) {
    full_statuses_.push_back(
        {event_log::kDeliveryStatusTopic, meta.workspace_id(), batch.SerializeAsString()});
    batch.clear_statuses();
  }
  auto& status = *batch.add_statuses();
  status.set_source_id(meta.source_id());
  status.set_destination_id(meta.destination_id());
  status.set_message_id(meta.message_id());
  status.set_received_at_us(meta.received_at_us());
  *status.mutable_transformation_versions() = meta.transformation_versions();
  return status;
}

void Results::AddFinal(const delivery::v1::DeliveryMeta& meta, delivery::v1::Outcome outcome,
                       int http_status, uint32_t attempts, int64_t now_us, std::string_view reason,
                       std::string_view error_class) {
  ++finished_;
  auto& status = NewStatus(meta);
  status.set_outcome(outcome);
  status.set_http_status(http_status);
  status.set_attempts(attempts);
  status.set_at_us(now_us);
  status.mutable_reason()->assign(ClipText(reason, kReasonBytes));
  ++counts_[meta.workspace_id()]
           [{meta.source_id(), meta.destination_id(), FateOf(outcome), std::string(error_class)}];
}

void Results::AddRetrying(const delivery::v1::DeliveryMeta& meta, int http_status,
                          uint32_t attempts, int64_t now_us, std::string_view reason) {
  auto& status = NewStatus(meta);
  status.set_outcome(delivery::v1::RETRYING);
  status.set_http_status(http_status);
  status.set_attempts(attempts);
  status.set_at_us(now_us);
  status.mutable_reason()->assign(ClipText(reason, kReasonBytes));
}

void Results::AddDeadLetter(std::string_view user_key, const delivery::v1::DeadLetter& letter) {
  dead_letters_.push_back(
      {event_log::kDeadLetterTopic, std::string(user_key), letter.SerializeAsString()});
}

std::vector<OwnedRecord> Results::Take(int64_t now_us) {
  std::vector<OwnedRecord> records = std::exchange(dead_letters_, {});
  for (OwnedRecord& record : full_statuses_) records.push_back(std::move(record));
  full_statuses_.clear();
  for (const auto& [workspace, batch] : statuses_) {
    records.push_back({event_log::kDeliveryStatusTopic, workspace, batch.SerializeAsString()});
  }
  for (const auto& [workspace, counts] : counts_) {
    accounting::v1::Counters counters;
    counters.set_workspace_id(workspace);
    counters.set_stage("router");
    counters.set_at_us(now_us);
    for (const auto& [key, number] : counts) {
      auto& count = *counters.add_counts();
      count.set_source_id(std::get<0>(key));
      count.set_destination_id(std::get<1>(key));
      count.set_fate(std::get<2>(key));
      count.set_reason(std::get<3>(key));
      count.set_count(number);
    }
    records.push_back({event_log::kCountersTopic, workspace, counters.SerializeAsString()});
  }
  statuses_.clear();
  counts_.clear();
  finished_ = 0;
  return records;
}

}  // namespace millrace::router
