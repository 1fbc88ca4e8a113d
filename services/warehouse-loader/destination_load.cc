// The part of DestinationWorker that writes loads and tells the log of them.
#include <future>
#include <utility>

#include "libs/base/backoff.h"
#include "libs/base/failpoint.h"
#include "libs/base/log.h"
#include "services/warehouse-loader/destination_worker.h"

namespace millrace::warehouse_loader {

std::vector<warehouse::PositionChange> DestinationWorker::Positions() const {
  std::vector<warehouse::PositionChange> changes;
  for (const auto& [partition, state] : partitions_) {
    if (state.events == 0) continue;
    changes.push_back({.to = {.topic = partition.topic,
                              .partition = partition.partition,
                              .next_offset = state.next,
                              .note = outcomes_.CountersOf(partition, state.next - 1)},
                       .from = state.loaded,
                       .events = state.events});
  }
  return changes;
}

Status DestinationWorker::WriteLoad() {
  if (!finished_) {
    batch_->Finish();
    finished_ = true;
  }
  // Dead letters first: in the log twice they are one, lost they would be gone.
  MR_RETURN_IF_ERROR(Append(outcomes_.dead_letters()));
  const warehouse::Load load{.destination_id = destination_.id(),
                             .changes = batch_->Changes(),
                             .tables = batch_->Tables(),
                             .positions = Positions(),
                             .careful = schema_rounds_ >= 2,
                             .before_commit = [] { return Failpoint("loader.before_commit"); }};
  unsettled_ = true;
  const auto result = session_->Write(load);
  if (!result.ok()) {
    session_.reset();
    return result.status();
  }
  unsettled_ = false;
  if (result->outcome == warehouse::LoadOutcome::kPositionMoved) {
    log::Warning("warehouse-loader: destination {}: {}; reading from there", destination_.id(),
                 result->reason);
    DropPending();
    return OkStatus();
  }
  if (result->outcome == warehouse::LoadOutcome::kSchemaChanged) {
    finished_ = false;
    schema_known_ = false;
    if (++schema_rounds_ <= 3) return OkStatus();
    return MakeStatus(StatusCode::kUnavailable, result->reason);
  }
  if (result->refused_rows > 0) {
    log::Warning(
        "warehouse-loader: destination {}: {} rows are in rudder_discards, the last because: {}",
        destination_.id(), result->refused_rows, result->reason);
  }
  return Loaded(result->refused_rows);
}

Status DestinationWorker::Settle() {
  if (!unsettled_) return OkStatus();
  auto positions = session_->ReadPositions(destination_.id());
  if (!positions.ok()) {
    session_.reset();
    return positions.status();
  }
  unsettled_ = false;
  size_t before = 0;
  size_t after = 0;
  const auto changes = Positions();
  for (const warehouse::PositionChange& change : changes) {
    int64_t now = -1;
    for (const warehouse::Position& position : *positions) {
      if (position.topic == change.to.topic && position.partition == change.to.partition) {
        now = position.next_offset;
      }
    }
    if (now == change.from) ++before;
    if (now == change.to.next_offset) ++after;
  }
  if (!changes.empty() && after == changes.size()) {
    schema_known_ = false;
    return Loaded(0);
  }
  if (before != changes.size()) DropPending();
  return OkStatus();
}

/// The load is committed: tells the log.
Status DestinationWorker::Loaded(size_t refused_rows) {
  MR_RETURN_IF_ERROR(Failpoint("loader.after_commit"));
  const int64_t now_us = deps_.clock.NowMicros();
  std::vector<OwnedRecord> records = outcomes_.TakeStatuses(now_us);
  std::vector<event_log::CommittedOffset> offsets;
  for (warehouse::PositionChange& change : Positions()) {
    const event_log::TopicPartition partition{change.to.topic, change.to.partition};
    offsets.push_back({partition, change.to.next_offset, {}});
    records.push_back(
        {event_log::kCountersTopic, outcomes_.workspace_id(), std::move(change.to.note)});
    PartitionState& state = partitions_[partition];
    state.loaded = change.to.next_offset;
    state.events = 0;
  }
  loads_.Increment();
  rows_.Add(static_cast<double>(batch_->rows() - refused_rows));
  discards_.Add(static_cast<double>(batch_->discards() + refused_rows));
  if (!pending_.empty()) {
    latency_.Observe(static_cast<double>(now_us - pending_.front().record.appended_at_us) / 1e6);
  }
  const auto changes = batch_->Changes();
  batch_.reset();
  warehouse::Apply(changes, &schema_);
  if (refused_rows > 0 || schema_rounds_ > 0) schema_known_ = false;
  pending_.clear();
  owners_.clear();
  pending_bytes_ = 0;
  schema_rounds_ = 0;
  failures_ = 0;
  finished_ = false;
  if (schema_known_) NewBatch();

  // The counters must be in the log before the next load takes their place in the warehouse.
  for (uint32_t attempt = 1;; ++attempt) {
    const Status appended = Append(records);
    if (appended.ok() || stopping_) break;
    log::Warning("warehouse-loader: destination {}: {}", destination_.id(), Message(appended));
    WaitPaused(BackoffDelay(
        {.initial = std::chrono::milliseconds(100), .maximum = std::chrono::milliseconds(5000)},
        attempt, FastRandom()));
  }
  MR_RETURN_IF_ERROR(Failpoint("loader.before_offsets"));
  if (const Status status = consumer_->Commit(offsets); !status.ok()) {
    // The warehouse's positions count; this one frees the log's disk, and the next load does it
    // too.
    log::Warning("warehouse-loader: destination {}: offsets: {}", destination_.id(),
                 Message(status));
  }
  return OkStatus();
}

Status DestinationWorker::Append(const std::vector<OwnedRecord>& records) {
  if (records.empty()) return OkStatus();
  std::vector<event_log::TopicRecord> views;
  for (const OwnedRecord& record : records) {
    views.push_back({record.topic, {.key = record.key, .value = record.value}});
  }
  std::promise<Status> done;
  appender_->Append(views, [&done](Status status) { done.set_value(std::move(status)); });
  return done.get_future().get();
}

}  // namespace millrace::warehouse_loader
