#include "services/processor/worker.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <iterator>
#include <optional>
#include <utility>

#include "libs/base/backoff.h"
#include "libs/base/failpoint.h"
#include "libs/base/log.h"

namespace millrace::processor {
namespace {

constexpr BackoffPolicy kRetries{.initial = std::chrono::milliseconds(50),
                                 .maximum = std::chrono::milliseconds(5000)};
constexpr uint32_t kFailuresPerLine = 12;  // in a row: about one line a minute
constexpr std::chrono::milliseconds kConfigurationWait{50};
constexpr std::chrono::milliseconds kLoadingWait{10'000};

/// Waits for `time` or a stop.
void Rest(const std::stop_token& stop, std::chrono::milliseconds time) {
  std::mutex mu;
  std::condition_variable_any wake;
  std::unique_lock lock(mu);
  wake.wait_for(lock, stop, time, [] { return false; });
}

}  // namespace

Worker::Worker(Options options, const Deps& deps, Planner& planner)
    : options_(std::move(options)),
      deps_(deps),
      planner_(planner),
      dedup_(options_.dedup, deps.log, deps.clock, &deps.metrics),
      state_(options_.state, deps.log, deps.clock),
      reports_(options_.reports, deps.clock, state_),
      transform_(
          deps.clock, [this](int32_t partition) { return StateOf(partition); }, &reports_),
      metrics_(deps.metrics),
      missing_(deps.log, deps.clock, deps.workspace),
      pace_(options_.limits.max_records) {}

Worker::~Worker() {
  RequestStop();
  Join();
}

void Worker::Start() {
  thread_ = std::jthread([this](std::stop_token stop) { Run(std::move(stop)); });
}

void Worker::Join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::Run(std::stop_token stop) {
  pthread_setname_np(pthread_self(), "processor");
  dedup_.StopWith(stop);
  state_.StopWith(stop);
  // Nothing is read before there is a configuration: no event is dropped for the want of one.
  while (!stop.stop_requested() && planner_.Current() == nullptr) Rest(stop, kConfigurationWait);
  uint32_t failures = 0;
  while (!stop.stop_requested()) {
    Status status = Round(stop);
    if (status.ok()) {
      if (failures > 1) log::Info("{}: works again, after {} failures", options_.name, failures);
      failures = 0;
      continue;
    }
    ++failures;
    deps_.metrics
        .GetCounter("millrace_processor_failures_total",
                    "Batches that could not be moved and were tried again.")
        .Increment();
    if (failures == 1 || failures % kFailuresPerLine == 0) {
      log::Warning("{}: {}; trying again", options_.name, Message(status));
    }
    prepared_.reset();  // a topic may be gone
    missing_.Forget();
    const bool passing = IsRetryable(status) || status.code() == StatusCode::kAborted;
    if (must_reconnect_ || !passing || !Rewind().ok()) Disconnect();
    Rest(stop, BackoffDelay(kRetries, failures, FastRandom()));
  }
  Disconnect();
}

Status Worker::Round(const std::stop_token& stop) {
  MR_RETURN_IF_ERROR(CurrentFanOut().status());  // first: the dedup windows come from it
  if (consumer_ == nullptr) MR_RETURN_IF_ERROR(Connect());
  StatusOr<event_log::RecordBatch> records;
  {
    const std::stop_callback wake(stop, [this] { consumer_->Wake(); });
    event_log::PollLimits limits = options_.limits;
    limits.max_records = pace_.limit();
    records = consumer_->Poll(limits);
  }
  if (!assignment_error_.ok()) {
    must_reconnect_ = true;
    return assignment_error_;
  }
  MR_RETURN_IF_ERROR(records.status());
  if (records->records.empty()) return Idle();
  MR_RETURN_IF_ERROR(Failpoint("processor.after_poll"));
  const MonotonicTime began = deps_.clock.Monotonic();
  const Status status = Process(*records, stop);
  // kUnavailable: the log may have no room for the outputs of so many.
  const bool too_much = status.code() == StatusCode::kResourceExhausted ||
                        status.code() == StatusCode::kDeadlineExceeded ||
                        status.code() == StatusCode::kUnavailable;
  if (too_much)
    pace_.TooMuch(records->records.size());
  else
    pace_.Took(records->records.size(), deps_.clock.Monotonic() - began);
  return status;
}

/// The transaction first: making it ends what an earlier one of the same name left open, so that
/// the offsets the consumer then starts from are final.
Status Worker::Connect() {
  must_reconnect_ = false;
  assignment_error_ = OkStatus();
  MR_ASSIGN_OR_RETURN(transaction_, deps_.log.NewTransaction(options_.name));
  MR_ASSIGN_OR_RETURN(consumer_,
                      deps_.log.NewConsumer({.group = std::string(pipeline::kProcessorGroup),
                                             .instance = options_.name,
                                             .listener = this}));
  return consumer_->Subscribe({std::string(event_log::kIngestTopic)});
}

void Worker::Disconnect() {
  transaction_.reset();
  reports_.WaitForShadows();
  dedup_.CloseAll();  // before another worker may open the same folders
  state_.CloseAll();
  consumer_.reset();
  committed_.clear();
}

void Worker::OnAssigned(std::span<const event_log::CommittedOffset> partitions) {
  for (const auto& partition : partitions) {
    Position& position = committed_[partition.partition];
    position.offset = partition.offset;
    position.numbers = partition.offset < 0
                           ? GatewayNumbers()
                           : GatewayNumbers::FromNote(partition.metadata, deps_.clock.NowMicros());
    metrics_.ShowLost(partition.partition.partition, position.numbers);
    const Status status = dedup_.Open(partition.partition.partition);
    if (!status.ok()) assignment_error_ = status;
  }
}

void Worker::OnRevoked(std::span<const event_log::TopicPartition> partitions) {
  reports_.WaitForShadows();  // they read the stores
  for (const auto& partition : partitions) {
    committed_.erase(partition);
    dedup_.Close(partition.partition);
    state_.Close(partition.partition);
  }
}

/// Goes back to what is committed, for all partitions: the log then delivers the batch again.
Status Worker::Rewind() {
  if (consumer_ == nullptr) return Error(StatusCode::kFailedPrecondition, "not connected");
  for (const auto& [partition, position] : committed_) {
    MR_RETURN_IF_ERROR(consumer_->Seek(partition, position.offset));
  }
  return OkStatus();
}

StatusOr<std::shared_ptr<const FanOut>> Worker::CurrentFanOut() {
  auto current = planner_.Current();
  MR_RETURN_IF_ERROR(missing_.Refresh(*current));
  if (current == prepared_) return current;
  dedup_.SetWorkspace(current->workspace());
  metrics_.SetWorkspace(current->workspace());
  prepared_ = current;
  return current;
}

/// The newest fan-out that is loaded; when events come of a source that it does not know, while a
/// newer one is being loaded, that one.
StatusOr<std::shared_ptr<const FanOut>> Worker::FanOutOf(EventBatch& batch) {
  MR_ASSIGN_OR_RETURN(auto current, CurrentFanOut());
  const auto unknown = [&current](const Event& event) { return IsUnknown(*current, event); };
  if (std::any_of(batch.events.begin(), batch.events.end(), unknown) &&
      planner_.WaitUntilNewest(kLoadingWait)) {
    MR_ASSIGN_OR_RETURN(current, CurrentFanOut());
  }
  RefuseUnknown(*current, {.begin = 0, .end = batch.events.size()}, batch);
  return current;
}

void Worker::ReadEvents(const event_log::RecordBatch& records, Part part, EventBatch& batch) {
  batch.events.resize(records.records.size());
  for (size_t i = part.begin; i < part.end; ++i) {
    const auto& record = records.records[i];
    Event& event = batch.events[i];
    event = Event();
    event.user_key = record.key;
    event.bytes = Bytes(records.owner, record.value);
    event.order = i;
    event.partition = records.source_of(record).partition;
    event.offset = record.offset;
    if (!event.meta.ParseFromArray(record.meta.data(), static_cast<int>(record.meta.size()))) {
      event.DeadLetter("invalid_metadata", "the record's metadata cannot be read");
      continue;
    }
    event.original_at_us = event.meta.received_at_us();
    const auto& redrive = event.meta.redrive();
    event.resume_at = redrive.transformation_id();
    event.versions.assign(redrive.transformation_versions().begin(),
                          redrive.transformation_versions().end());
  }
}

/// Moves what was polled, in as many transactions as its outputs need to stay below their bound.
Status Worker::Process(const event_log::RecordBatch& records, const std::stop_token& stop) {
  EventBatch polled;
  ReadEvents(records, {.begin = 0, .end = records.records.size()}, polled);
  MR_ASSIGN_OR_RETURN(const auto fan_out, FanOutOf(polled));
  std::vector<Part> left = PartsOf(polled, *fan_out, options_.max_transaction_bytes);
  std::reverse(left.begin(), left.end());
  while (!left.empty() && !stop.stop_requested()) {
    const Part part = left.back();
    left.pop_back();
    EventBatch batch;
    const auto first = std::make_move_iterator(polled.events.begin());
    batch.events.assign(first + static_cast<ptrdiff_t>(part.begin),
                        first + static_cast<ptrdiff_t>(part.end));
    MR_ASSIGN_OR_RETURN(const bool moved, ProcessPart(records, part, *fan_out, batch));
    if (moved) continue;
    // Transformations made more of it than was thought.
    ReadEvents(records, part, polled);
    RefuseUnknown(*fan_out, part, polled);
    const size_t middle = part.begin + part.size() / 2;
    left.push_back({.begin = middle, .end = part.end});
    left.push_back({.begin = part.begin, .end = middle});
  }
  return OkStatus();
}

/// False: it is too much for one transaction, and nothing of it is moved.
StatusOr<bool> Worker::ProcessPart(const event_log::RecordBatch& records, Part part,
                                   const FanOut& fan_out, EventBatch& batch) {
  const MonotonicTime began = deps_.clock.Monotonic();
  MR_RETURN_IF_ERROR(normalise_.Run(batch));
  MR_RETURN_IF_ERROR(dedup_.Run(batch));
  Outputs outputs(fan_out, missing_.reasons(), deps_.clock.NowMicros(),
                  part.size() > 1 ? options_.max_transaction_bytes : SIZE_MAX);
  metrics_.Begin(batch);
  auto next = PositionsAfter(records, part, batch);
  MR_RETURN_IF_ERROR(Transform(fan_out, batch, outputs));
  if (outputs.overfull()) return false;
  MR_RETURN_IF_ERROR(Failpoint("processor.after_transform"));
  MR_RETURN_IF_ERROR(AddChangelogs(outputs));
  for (const auto& [partition, position] : next) {
    outputs.AddLost(static_cast<int64_t>(position.numbers.lost()) -
                    static_cast<int64_t>(committed_[partition].numbers.lost()));
  }
  outputs.Finish();
  MR_RETURN_IF_ERROR(Commit(std::move(next), outputs));
  metrics_.Committed(outputs, deps_.clock.Monotonic() - began);
  return true;
}

Status Worker::Transform(const FanOut& fan_out, EventBatch& batch, Outputs& outputs) {
  workspace_id_ = fan_out.workspace().id();
  state_.BeginBatch();
  reports_.BeginBatch(workspace_id_);
  MR_RETURN_IF_ERROR(transform_.RunSources(fan_out, batch));
  for (Event& event : batch.events) {
    if (event.live() && fan_out.Routes(event.meta.source_id())->empty() &&
        !event.meta.has_redrive()) {
      event.state = EventState::kFiltered;
      event.reason = "no_connection";
    }
  }
  for (Event& event : batch.events) outputs.Add(std::move(event));
  MR_RETURN_IF_ERROR(transform_.Run(outputs.chained()));
  MR_RETURN_IF_ERROR(state_.Fault());
  outputs.AddChained();
  return OkStatus();
}

StatusOr<transformation::StateScope*> Worker::StateOf(int32_t partition) {
  return state_.Scope(workspace_id_, partition);
}

Status Worker::AddChangelogs(Outputs& outputs) {
  MR_ASSIGN_OR_RETURN(auto ids, dedup_.Changelog());
  for (auto& [partition, packed] : ids) {
    outputs.AddRecord(event_log::kDedupTopic, partition, std::move(packed));
  }
  MR_ASSIGN_OR_RETURN(auto changes, state_.Changelog());
  for (auto& [partition, packed] : changes) {
    outputs.AddRecord(event_log::kStateTopic, partition, std::move(packed));
  }
  if (std::string report = reports_.Record(); !report.empty()) {
    outputs.AddRecord(event_log::kReportTopic, -1, std::move(report));
  }
  return OkStatus();
}

Status Worker::Idle() {
  must_reconnect_ = true;  // a store that fails is opened again
  MR_RETURN_IF_ERROR(dedup_.Idle());
  MR_RETURN_IF_ERROR(state_.Idle());
  must_reconnect_ = false;
  return reports_.Overdue() ? FlushReports() : OkStatus();
}

/// Tells of shadows that ended after the last batch.
Status Worker::FlushReports() {
  reports_.BeginBatch(workspace_id_);
  const std::string report = reports_.Record();
  if (report.empty()) return OkStatus();
  const event_log::TopicRecord record{.topic = event_log::kReportTopic,
                                      .record = {.value = report}};
  MR_RETURN_IF_ERROR(transaction_->Begin());
  if (const Status status = transaction_->Append({&record, 1}); !status.ok()) {
    must_reconnect_ = !transaction_->Abort().ok();
    return status;
  }
  const Status status = transaction_->Commit();
  must_reconnect_ = !status.ok() && status.code() != StatusCode::kAborted;
  return status;
}

Status Worker::Fill(const Outputs& outputs, std::span<const event_log::CommittedOffset> offsets) {
  MR_RETURN_IF_ERROR(transaction_->Append(outputs.records()));
  MR_RETURN_IF_ERROR(transaction_->AddOffsets(*consumer_, offsets));
  return Failpoint("processor.before_commit");
}

/// Where the partitions stand once the part is moved. `batch` has been through dedup.
std::map<event_log::TopicPartition, Worker::Position> Worker::PositionsAfter(
    const event_log::RecordBatch& records, Part part, const EventBatch& batch) {
  std::map<event_log::TopicPartition, Position> next;
  Position* position = nullptr;
  uint32_t source = 0;
  for (size_t i = part.begin; i < part.end; ++i) {
    const auto& record = records.records[i];
    if (position == nullptr || record.source != source) {
      const auto [found, is_new] = next.try_emplace(records.source_of(record));
      if (is_new) found->second.numbers = committed_[found->first].numbers;
      position = &found->second;
      source = record.source;
    }
    position->offset = record.offset + 1;
    const Event& event = batch.events[i - part.begin];
    position->numbers.See(event.meta, event.state == EventState::kDuplicate);
  }
  return next;
}

Status Worker::Commit(std::map<event_log::TopicPartition, Position> next, const Outputs& outputs) {
  std::vector<event_log::CommittedOffset> offsets;
  for (auto& [partition, position] : next) {
    offsets.push_back({partition, position.offset, position.numbers.Note()});
  }
  MR_RETURN_IF_ERROR(transaction_->Begin());
  if (const Status status = Fill(outputs, offsets); !status.ok()) {
    must_reconnect_ = !transaction_->Abort().ok();
    return status;
  }
  if (const Status status = transaction_->Commit(); !status.ok()) {
    // Only kAborted says that nothing of it was written.
    must_reconnect_ = status.code() != StatusCode::kAborted;
    return status;
  }
  Adopt(std::move(next));
  must_reconnect_ = true;  // until the stores have what the changelog has
  MR_RETURN_IF_ERROR(Failpoint("processor.after_commit"));
  MR_RETURN_IF_ERROR(dedup_.Committed());
  MR_RETURN_IF_ERROR(state_.Committed());
  reports_.Committed();
  must_reconnect_ = false;
  return OkStatus();
}

void Worker::Adopt(std::map<event_log::TopicPartition, Position> next) {
  for (auto& [partition, position] : next) {
    metrics_.Lost(partition.partition, committed_[partition].numbers, position.numbers);
    committed_[partition] = std::move(position);
  }
}

}  // namespace millrace::processor
