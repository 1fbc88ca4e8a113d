#include "services/processor/worker.h"

#include <pthread.h>

#include <condition_variable>
#include <utility>

#include "libs/base/backoff.h"
#include "libs/base/failpoint.h"
#include "libs/base/log.h"

namespace millrace::processor {
namespace {

/// Waits for `time` or a stop.
void Rest(const std::stop_token& stop, std::chrono::milliseconds time) {
  std::mutex mu;
  std::condition_variable_any wake;
  std::unique_lock lock(mu);
  wake.wait_for(lock, stop, time, [] { return false; });
}

}  // namespace

Worker::Worker(Options options, const Deps& deps)
    : options_(std::move(options)), deps_(deps), dedup_(options_.dedup, deps.log) {}

Worker::~Worker() { Stop(); }

void Worker::Start() {
  subscription_ = deps_.workspace.Subscribe(
      [this](const config::WorkspacePtr& workspace) { OnWorkspace(workspace); });
  thread_ = std::jthread([this](std::stop_token stop) { Run(std::move(stop)); });
}

void Worker::Stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
  subscription_.reset();
}

void Worker::OnWorkspace(const config::WorkspacePtr& workspace) {
  if (workspace != nullptr) {
    fan_out_.Set(std::make_shared<const FanOut>(workspace, deps_.types));
  }
}

void Worker::Run(std::stop_token stop) {
  pthread_setname_np(pthread_self(), "processor");
  uint32_t failures = 0;
  while (!stop.stop_requested()) {
    Status status = consumer_ == nullptr ? Connect() : OkStatus();
    if (status.ok()) status = Step();
    if (status.ok()) {
      failures = 0;
      continue;
    }
    ++failures;
    log::Warning("{}: {}; trying again", options_.name, Message(status));
    if (status.code() == StatusCode::kFailedPrecondition || status.code() == StatusCode::kInternal) {
      transaction_.reset();  // fenced or lost its partitions: begin anew
      consumer_.reset();
      committed_.clear();
    } else if (consumer_ != nullptr) {
      Rewind();
    }
    Rest(stop, BackoffDelay({.initial = std::chrono::milliseconds(50),
                             .maximum = std::chrono::milliseconds(5000)},
                            failures, FastRandom()));
  }
  transaction_.reset();
  consumer_.reset();
  for (const auto& [partition, offset] : committed_) dedup_.Close(partition.partition);
}

Status Worker::Connect() {
  MR_ASSIGN_OR_RETURN(transaction_, deps_.log.NewTransaction(options_.name));
  MR_ASSIGN_OR_RETURN(consumer_, deps_.log.NewConsumer({.group = "processor",
                                                        .instance = options_.name,
                                                        .listener = this}));
  return consumer_->Subscribe({std::string(event_log::kIngestTopic)});
}

void Worker::OnAssigned(std::span<const event_log::CommittedOffset> partitions) {
  for (const auto& partition : partitions) {
    committed_[partition.partition] = partition.offset;
    const Status status = dedup_.Open(partition.partition.partition);
    if (!status.ok()) assignment_error_ = status;
  }
}

void Worker::OnRevoked(std::span<const event_log::TopicPartition> partitions) {
  for (const auto& partition : partitions) {
    committed_.erase(partition);
    dedup_.Close(partition.partition);
  }
}

/// Goes back to what is committed, for all partitions: the log then delivers the batch again.
void Worker::Rewind() {
  for (const auto& [partition, offset] : committed_) {
    const Status status = consumer_->Seek(partition, offset < 0 ? 0 : offset);
    if (!status.ok()) log::Warning("{}: seeking: {}", options_.name, Message(status));
  }
}

StatusOr<std::shared_ptr<const FanOut>> Worker::CurrentFanOut() {
  auto current = fan_out_.Get();
  if (current == nullptr) {
    return Error(StatusCode::kUnavailable, "no configuration yet: the control plane is not reached");
  }
  if (current == prepared_) return current;
  for (const std::string& id : current->destination_ids()) {
    MR_RETURN_IF_ERROR(deps_.log.EnsureTopic(event_log::DestinationTopic(id),
                                             {.partitions = deps_.destination_partitions}));
  }
  dedup_.SetWorkspace(current->workspace());
  prepared_ = current;
  return current;
}

Status Worker::Step() {
  MR_ASSIGN_OR_RETURN(const auto records, consumer_->Poll(options_.limits));
  if (!assignment_error_.ok()) return std::exchange(assignment_error_, OkStatus());
  if (records.records.empty()) return OkStatus();
  MR_RETURN_IF_ERROR(Failpoint("processor.after_poll"));
  return Process(records);
}

Status Worker::Process(const event_log::RecordBatch& records) {
  MR_ASSIGN_OR_RETURN(const auto fan_out, CurrentFanOut());
  EventBatch batch;
  batch.events.resize(records.records.size());
  for (size_t i = 0; i < records.records.size(); ++i) {
    const auto& record = records.records[i];
    Event& event = batch.events[i];
    event.user_key = record.key;
    event.bytes = record.value;
    event.partition = records.source_of(record).partition;
    event.offset = record.offset;
    if (!event.meta.ParseFromArray(record.meta.data(), static_cast<int>(record.meta.size()))) {
      event.DeadLetter("the record's metadata cannot be read");
    } else if (fan_out->Routes(event.meta.source_id()) == nullptr) {
      event.DeadLetter("the source is not in the workspace any more");
    }
  }
  MR_RETURN_IF_ERROR(normalise_.Run(batch));
  MR_RETURN_IF_ERROR(dedup_.Run(batch));
  for (Event& event : batch.events) {
    if (event.live() && fan_out->Routes(event.meta.source_id())->empty()) {
      event.state = EventState::kFiltered;
      event.reason = "no_connection";
    }
  }
  MR_RETURN_IF_ERROR(Failpoint("processor.after_transform"));
  Outputs outputs(*fan_out, deps_.clock.NowMicros());
  for (const Event& event : batch.events) outputs.Add(event);
  for (auto& [partition, packed] : dedup_.Changelog()) outputs.AddChangelog(partition, packed);
  outputs.Finish();
  return Commit(records, outputs);
}

Status Worker::Commit(const event_log::RecordBatch& records, Outputs& outputs) {
  std::map<event_log::TopicPartition, int64_t> next;
  for (const auto& record : records.records) next[records.source_of(record)] = record.offset + 1;
  std::vector<event_log::CommittedOffset> offsets;
  for (const auto& [partition, offset] : next) offsets.push_back({partition, offset, ""});

  MR_RETURN_IF_ERROR(transaction_->Begin());
  Status status = transaction_->Append(outputs.records());
  if (status.ok()) status = transaction_->AddOffsets(*consumer_, offsets);
  if (status.ok()) status = Failpoint("processor.before_commit");
  if (!status.ok()) {
    MR_RETURN_IF_ERROR(transaction_->Abort());
    return status;
  }
  MR_RETURN_IF_ERROR(transaction_->Commit());
  for (const auto& [partition, offset] : next) committed_[partition] = offset;
  MR_RETURN_IF_ERROR(Failpoint("processor.after_commit"));
  MR_RETURN_IF_ERROR(dedup_.Committed());
  for (const auto& [key, count] : outputs.counts()) {
    const auto& [source, destination, fate, reason] = key;
    deps_.metrics
        .GetCounter("millrace_processor_events_total", "Events by what became of them.",
                    {{"source", source},
                     {"destination", destination},
                     {"fate", accounting::v1::Fate_Name(fate)}})
        .Add(static_cast<double>(count));
  }
  return OkStatus();
}

}  // namespace millrace::processor
