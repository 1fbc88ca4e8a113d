#include "services/warehouse-loader/outcomes.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "libs/base/hash.h"
#include "libs/base/text.h"

namespace millrace::warehouse_loader {
namespace {

constexpr std::string_view kStage = "warehouse-loader";
// Ids are at most 4 KiB and reasons 1 KB: a record stays far below what a Kafka broker takes.
constexpr size_t kStatusesOfRecord = 100;
constexpr size_t kReasonBytes = 1000;

delivery::v1::DeliveryStatus StatusOf(const delivery::v1::DeliveryMeta& meta,
                                      delivery::v1::Outcome outcome) {
  delivery::v1::DeliveryStatus status;
  status.set_source_id(meta.source_id());
  status.set_destination_id(meta.destination_id());
  status.set_message_id(meta.message_id());
  status.set_outcome(outcome);
  status.set_attempts(1);
  status.set_received_at_us(meta.received_at_us());
  *status.mutable_transformation_versions() = meta.transformation_versions();
  return status;
}

}  // namespace

void Outcomes::Count(const event_log::TopicPartition& partition,
                     const delivery::v1::DeliveryMeta& meta, accounting::v1::Fate fate,
                     std::string_view reason) {
  if (workspace_id_.empty()) workspace_id_ = meta.workspace_id();
  ++counts_[partition][{meta.source_id(), meta.destination_id(), fate, std::string(reason)}];
}

void Outcomes::AddLoaded(const event_log::TopicPartition& partition,
                         const delivery::v1::DeliveryMeta& meta) {
  Count(partition, meta, accounting::v1::DELIVERED, "");
  statuses_.push_back(StatusOf(meta, delivery::v1::DELIVERED));
}

void Outcomes::AddDeadLetter(const event_log::TopicPartition& partition, std::string_view key,
                             const event_log::ConsumedRecord& record,
                             const delivery::v1::DeliveryMeta& meta, std::string_view reason,
                             int64_t now_us) {
  Count(partition, meta, accounting::v1::DEAD_LETTERED, "invalid_event");
  auto status = StatusOf(meta, delivery::v1::DEAD_LETTERED);
  status.mutable_reason()->assign(ClipText(reason, kReasonBytes));
  statuses_.push_back(std::move(status));

  delivery::v1::DeadLetter letter;
  // The position names the event whatever its message id: read again, it is the same dead letter.
  letter.set_id(Sha256Hex(fmt::format("{}\n{}\n{}\n{}", kStage, partition.topic,
                                      partition.partition, record.offset))
                    .substr(0, 32));
  letter.mutable_stage()->assign(kStage);
  letter.mutable_reason()->assign(ClipText(reason, kReasonBytes));
  letter.set_error_class("invalid_event");
  letter.set_workspace_id(meta.workspace_id());
  letter.set_source_id(meta.source_id());
  letter.set_destination_id(meta.destination_id());
  letter.set_message_id(meta.message_id());
  letter.set_type(meta.type());
  letter.mutable_event()->assign(record.value);
  letter.set_received_at_us(meta.received_at_us());
  letter.set_failed_at_us(now_us);
  letter.set_attempts(1);
  letter.mutable_user_key()->assign(key);
  *letter.mutable_delivery() = meta;
  dead_letters_.push_back(
      {event_log::kDeadLetterTopic, std::string(key), letter.SerializeAsString()});
}

void Outcomes::Clear() {
  workspace_id_.clear();
  counts_.clear();
  statuses_.clear();
  dead_letters_.clear();
}

std::string Outcomes::CountersOf(const event_log::TopicPartition& partition,
                                 int64_t last_offset) const {
  accounting::v1::Counters counters;
  counters.set_workspace_id(workspace_id_);
  counters.mutable_stage()->assign(kStage);
  counters.set_topic(partition.topic);
  counters.set_partition(partition.partition);
  counters.set_last_offset(last_offset);
  if (const auto found = counts_.find(partition); found != counts_.end()) {
    for (const auto& [key, number] : found->second) {
      auto& count = *counters.add_counts();
      count.set_source_id(std::get<0>(key));
      count.set_destination_id(std::get<1>(key));
      count.set_fate(std::get<2>(key));
      count.set_reason(std::get<3>(key));
      count.set_count(number);
    }
  }
  return counters.SerializeAsString();
}

std::vector<OwnedRecord> Outcomes::TakeStatuses(int64_t now_us) {
  std::vector<OwnedRecord> records;
  for (size_t begin = 0; begin < statuses_.size(); begin += kStatusesOfRecord) {
    delivery::v1::DeliveryStatusBatch batch;
    batch.set_workspace_id(workspace_id_);
    const size_t end = std::min(begin + kStatusesOfRecord, statuses_.size());
    for (size_t i = begin; i < end; ++i) {
      auto& status = *batch.add_statuses();
      status = std::move(statuses_[i]);
      status.set_at_us(now_us);
    }
    records.push_back({event_log::kDeliveryStatusTopic, workspace_id_, batch.SerializeAsString()});
  }
  statuses_.clear();
  return records;
}

}  // namespace millrace::warehouse_loader
