#include "services/warehouse-loader/destination_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "libs/base/backoff.h"
#include "libs/base/log.h"

namespace millrace::warehouse_loader {
namespace {

constexpr std::chrono::milliseconds kPollSlice{500};
constexpr std::chrono::milliseconds kTopicWait{500};
constexpr size_t kPollRecords = 5000;

}  // namespace

DestinationWorker::DestinationWorker(const Deps& deps,
                                     const settings::v1::WarehouseLoaderSettings& settings,
                                     const warehouse::Warehouse& warehouse,
                                     config::v1::Destination destination, DestinationConfig config,
                                     std::function<void()> on_end)
    : deps_(deps),
      settings_(settings),
      warehouse_(warehouse),
      destination_(std::move(destination)),
      config_(std::move(config)),
      topic_(event_log::DestinationTopic(destination_.id())),
      builder_(config_.rows),
      loads_(deps.metrics.GetCounter("millrace_warehouse_loads_total", "Loads committed",
                                     {{"destination", destination_.id()}})),
      rows_(deps.metrics.GetCounter("millrace_warehouse_rows_total", "Rows committed",
                                    {{"destination", destination_.id()}})),
      discards_(deps.metrics.GetCounter("millrace_warehouse_discards_total",
                                        "Values written to rudder_discards",
                                        {{"destination", destination_.id()}})),
      load_failures_(deps.metrics.GetCounter("millrace_warehouse_load_failures_total",
                                             "Loads that failed and are tried again",
                                             {{"destination", destination_.id()}})),
      latency_(deps.metrics.GetHistogram(
          "millrace_warehouse_latency_seconds", "Time from received to committed in the warehouse",
          telemetry::LatencyBounds(), {{"destination", destination_.id()}})),
      on_end_(std::move(on_end)) {
  thread_ = std::thread([this] { Run(); });
}

DestinationWorker::~DestinationWorker() {
  AskToStop(false);
  thread_.join();
}

void DestinationWorker::AskToStop(bool flush) {
  MutexLock lock(mu_);
  if (flush && !stopping_) flush_ = true;
  stopping_ = true;
  if (wakeable_ != nullptr) wakeable_->Wake();
  stopped_.notify_all();
}

void DestinationWorker::Run() {
  while (!stopping_) {
    const Status status = Step();
    if (status.ok()) continue;
    if (topic_missing_) {
      WaitPaused(kTopicWait);
      continue;
    }
    ++failures_;
    load_failures_.Increment();
    const auto wait =
        BackoffDelay({.initial = std::chrono::milliseconds(settings_.retry_initial_ms()),
                      .maximum = std::chrono::milliseconds(settings_.retry_max_ms())},
                     failures_, FastRandom());
    log::Warning("warehouse-loader: destination {}: {}; tried again in {} ms", destination_.id(),
                 Message(status), wait.count());
    WaitPaused(wait);
  }
  if (flush_ && failures_ == 0 && session_ != nullptr && !pending_.empty()) {
    if (const Status status = WriteLoad(); !status.ok()) {
      log::Warning("warehouse-loader: destination {}: last load: {}", destination_.id(),
                   Message(status));
    }
  }
  {
    MutexLock lock(mu_);
    wakeable_ = nullptr;
  }
  consumer_.reset();
  session_.reset();
  ended_ = true;
  if (on_end_ != nullptr) on_end_();
}

Status DestinationWorker::Step() {
  MR_RETURN_IF_ERROR(OpenConsumer());
  MR_RETURN_IF_ERROR(OpenSession());
  MR_RETURN_IF_ERROR(Settle());
  if (!schema_known_ && !finished_) return OkStatus();  // the next round reads it
  MR_RETURN_IF_ERROR(Place());
  if (!finished_) MR_RETURN_IF_ERROR(Read());
  if (finished_ || Due()) MR_RETURN_IF_ERROR(WriteLoad());
  return OkStatus();
}

Status DestinationWorker::OpenConsumer() {
  if (consumer_ != nullptr) return OkStatus();
  // Only the control plane makes it.
  const Status there = deps_.log.Describe(topic_).status();
  topic_missing_ = there.code() == StatusCode::kNotFound;
  MR_RETURN_IF_ERROR(there);
  if (appender_ == nullptr) {
    MR_ASSIGN_OR_RETURN(appender_, deps_.log.NewAppender());
  }
  MR_ASSIGN_OR_RETURN(auto consumer,
                      deps_.log.NewConsumer({.group = "warehouse-loader",
                                             .instance = deps_.instance + "." + destination_.id(),
                                             .listener = this}));
  MR_RETURN_IF_ERROR(consumer->Subscribe({topic_}));
  consumer_ = std::move(consumer);
  MutexLock lock(mu_);
  wakeable_ = consumer_.get();
  return OkStatus();
}

Status DestinationWorker::OpenSession() {
  if (session_ == nullptr) {
    MR_ASSIGN_OR_RETURN(session_, warehouse_.Connect(config_.config, cancel_.get_token()));
    schema_known_ = false;
  }
  if (schema_known_ || finished_) return OkStatus();
  auto schema = session_->ReadSchema();
  if (!schema.ok()) {
    session_.reset();
    return schema.status();
  }
  batch_.reset();  // it looks at the schema of before
  schema_ = *std::move(schema);
  schema_known_ = true;
  NewBatch();
  return OkStatus();
}

void DestinationWorker::NewBatch() {
  outcomes_.Clear();
  finished_ = false;
  batch_ = std::make_unique<warehouse::Batch>(schema_, warehouse_.dialect().MaxColumns(),
                                              FormatRfc3339Millis(deps_.clock.NowMicros()));
  for (const Pending& pending : pending_) AddRecord(pending);
}

void DestinationWorker::OnAssigned(std::span<const event_log::CommittedOffset> partitions) {
  for (const auto& offset : partitions) {
    partitions_[offset.partition] = {.committed = offset.offset};
    consumer_->Pause(offset.partition);
  }
}

void DestinationWorker::OnRevoked(std::span<const event_log::TopicPartition> partitions) {
  for (const auto& partition : partitions) partitions_.erase(partition);
  DropPending();
}

/// What was read is read again, from where the warehouse stands.
void DestinationWorker::DropPending() {
  pending_.clear();
  owners_.clear();
  pending_bytes_ = 0;
  unsettled_ = false;
  schema_rounds_ = 0;
  batch_.reset();
  finished_ = false;
  for (auto& [partition, state] : partitions_) {
    state.placed = false;
    state.events = 0;
    if (consumer_ != nullptr) consumer_->Pause(partition);
  }
  if (schema_known_) NewBatch();
}

/// Moves partitions that are new here to the position of the warehouse.
Status DestinationWorker::Place() {
  if (std::ranges::all_of(partitions_, [](const auto& entry) { return entry.second.placed; })) {
    return OkStatus();
  }
  auto positions = session_->ReadPositions(destination_.id());
  if (!positions.ok()) {
    session_.reset();
    return positions.status();
  }
  MR_ASSIGN_OR_RETURN(const auto infos, deps_.log.Describe(topic_));
  for (auto& [partition, state] : partitions_) {
    if (state.placed) continue;
    state.loaded = -1;
    int64_t from = state.committed;
    for (const warehouse::Position& position : *positions) {
      if (position.topic != partition.topic || position.partition != partition.partition) continue;
      state.loaded = from = position.next_offset;
      MR_RETURN_IF_ERROR(Republish(position));
    }
    for (const auto& info : infos) {
      if (info.partition != partition.partition || from <= info.end_offset) continue;
      log::Warning(
          "warehouse-loader: destination {}: the warehouse has {} partition {} up to offset "
          "{}, the log ends at {}: it is a new log and is read from its beginning",
          destination_.id(), topic_, partition.partition, from, info.end_offset);
      from = info.begin_offset;
    }
    MR_RETURN_IF_ERROR(consumer_->Seek(partition, from));
    if (state.loaded > state.committed && from == state.loaded) {
      // A crash came between the warehouse's commit and the group's.
      const event_log::CommittedOffset offset{partition, from, {}};
      MR_RETURN_IF_ERROR(consumer_->Commit({&offset, 1}));
      state.committed = from;
    }
    state.next = from;
    state.placed = true;
    consumer_->Resume(partition);
  }
  return OkStatus();
}

/// The counters of the last load: a crash, of this loader's or another's, may have kept them from
/// the log. Readers drop what they have counted.
Status DestinationWorker::Republish(const warehouse::Position& position) {
  if (position.note.empty()) return OkStatus();
  return Append({{event_log::kCountersTopic, destination_.id(), position.note}});
}

std::chrono::milliseconds DestinationWorker::UntilDue() const {
  if (pending_.empty()) return kPollSlice;
  const auto age =
      std::chrono::duration_cast<std::chrono::milliseconds>(deps_.clock.Monotonic() - first_read_);
  return std::clamp(config_.sync_interval - age, std::chrono::milliseconds(0), kPollSlice);
}

bool DestinationWorker::Due() const {
  if (pending_.empty()) return false;
  return pending_.size() >= settings_.max_load_events() ||
         pending_bytes_ >= settings_.max_load_bytes() ||
         deps_.clock.Monotonic() - first_read_ >= config_.sync_interval;
}

Status DestinationWorker::Read() {
  const size_t limit = settings_.max_load_events();
  const size_t room = limit - std::min(pending_.size(), limit);
  if (room == 0) return OkStatus();
  auto records =
      consumer_->Poll({.max_records = std::min(kPollRecords, room), .timeout = UntilDue()});
  if (!records.ok()) return records.status();
  Take(*records);
  return OkStatus();
}

void DestinationWorker::Take(const event_log::RecordBatch& records) {
  bool taken = false;
  for (const event_log::ConsumedRecord& record : records.records) {
    const event_log::TopicPartition& partition = records.source_of(record);
    const auto state = partitions_.find(partition);
    if (state == partitions_.end() || !state->second.placed || record.offset < state->second.next) {
      continue;
    }
    if (pending_.empty()) first_read_ = deps_.clock.Monotonic();
    state->second.next = record.offset + 1;
    ++state->second.events;
    pending_bytes_ += record.value.size() + record.meta.size();
    pending_.push_back({partition, record});
    AddRecord(pending_.back());
    taken = true;
  }
  if (taken) owners_.push_back(records.owner);
}

const config::v1::Source* DestinationWorker::FindSource(const std::string& id) {
  const auto found = sources_.find(id);
  return found == sources_.end() ? nullptr : found->second;
}

void DestinationWorker::AddRecord(const Pending& pending) {
  if (auto current = deps_.workspace.Current(); current != workspace_) {
    workspace_ = std::move(current);
    sources_.clear();
    for (const auto& source : workspace_->sources()) sources_[source.id()] = &source;
  }
  const event_log::ConsumedRecord& record = pending.record;
  delivery::v1::DeliveryMeta meta;
  const bool readable =
      meta.ParseFromArray(record.meta.data(), static_cast<int>(record.meta.size()));
  const std::string received_at = FormatRfc3339Millis(meta.received_at_us());
  const std::string message_id =
      meta.message_id().empty()
          ? fmt::format("auto-{}-{}-{}", topic_, pending.partition.partition, record.offset)
          : meta.message_id();
  const config::v1::Source* source = FindSource(meta.source_id());
  warehouse::EventRows rows;
  if (readable) {
    rows = builder_.Build(
        {.json = record.value,
         .source_id = meta.source_id(),
         .source_type = source == nullptr ? "" : std::string_view(source->type()),
         .source_category = source == nullptr ? "" : std::string_view(source->category()),
         .message_id = message_id,
         .received_at = received_at});
  } else {
    rows.error = "the record's metadata cannot be read";
  }
  if (!rows.error.empty()) {
    if (meta.destination_id().empty()) meta.set_destination_id(destination_.id());
    outcomes_.AddDeadLetter(pending.partition, record.key, record, meta, rows.error,
                            deps_.clock.NowMicros());
    return;
  }
  for (const warehouse::Row& row : rows.rows) batch_->Add(row, meta.received_at_us(), received_at);
  outcomes_.AddLoaded(pending.partition, meta);
}

void DestinationWorker::WaitPaused(std::chrono::milliseconds wait) {
  const MonotonicTime until = deps_.clock.Monotonic() + wait;
  if (consumer_ == nullptr) {
    MutexLock lock(mu_);
    if (!stopping_) stopped_.wait_for(lock.native(), wait);
    return;
  }
  for (auto& [partition, state] : partitions_) consumer_->Pause(partition);
  while (!stopping_) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - deps_.clock.Monotonic());
    if (left.count() <= 0) break;
    const auto records = consumer_->Poll({.timeout = std::min(left, kPollSlice)});
    if (!records.ok()) {
      MutexLock lock(mu_);
      if (!stopping_) stopped_.wait_for(lock.native(), std::min(left, kPollSlice));
      continue;
    }
    if (batch_ != nullptr && !finished_) Take(*records);
  }
  for (auto& [partition, state] : partitions_) {
    if (state.placed) consumer_->Resume(partition);
  }
}

}  // namespace millrace::warehouse_loader
