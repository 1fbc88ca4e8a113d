#include "services/gateway/spill.h"

#include <cstring>
#include <utility>

#include "libs/base/log.h"
#include "millrace/event/v1/event.pb.h"

namespace millrace::gateway {
namespace {

using event_log::Done;
using event_log::TopicRecord;

constexpr std::string_view kGroup = "spill";
// When so few records are left, new appends wait for the rest instead of making it longer.
constexpr uint64_t kClosingRecords = 2000;
constexpr std::chrono::milliseconds kTick{200};
// Of an event that the log will never take, the dead letter shows the beginning.
constexpr size_t kKeptOfTooLarge = 64 << 10;

bool IsAway(const Status& status) {
  // kFailedPrecondition: the producer is of no more use; the mover makes another.
  return status.code() == StatusCode::kUnavailable ||
         status.code() == StatusCode::kResourceExhausted ||
         status.code() == StatusCode::kFailedPrecondition;
}

// The same event, marked so that the processor puts it into the dead letters.
std::string RejectedMeta(std::string_view meta_bytes) {
  event::v1::EventMeta meta;
  if (!meta.ParseFromArray(meta_bytes.data(), static_cast<int>(meta_bytes.size())))
    return std::string(meta_bytes);
  meta.set_rejected_reason("event is larger than the log takes");
  return meta.SerializeAsString();
}

}  // namespace

struct SpillAppender::Copy {
  explicit Copy(std::span<const TopicRecord> from) {
    size_t size = 0;
    for (const TopicRecord& one : from) {
      size += one.topic.size() + one.record.key.size() + one.record.meta.size() +
              one.record.value.size();
    }
    bytes.reserve(size);
    records.reserve(from.size());
    const auto keep = [this](std::string_view text) {
      const size_t at = bytes.size();
      bytes += text;  // never moves: the room is reserved
      return std::string_view(bytes).substr(at);
    };
    for (const TopicRecord& one : from) {
      records.push_back({keep(one.topic),
                         {.key = keep(one.record.key),
                          .meta = keep(one.record.meta),
                          .value = keep(one.record.value),
                          .partition = one.record.partition}});
    }
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  std::string bytes;
  std::vector<TopicRecord> records;
};

SpillAppender::SpillAppender(NewAppender new_primary, std::unique_ptr<event_log::EventLog> spill,
                             telemetry::Metrics& metrics, Clock& clock, const Options& options)
    : options_(options),
      clock_(clock),
      new_primary_(std::move(new_primary)),
      spilled_(metrics.GetCounter("millrace_gateway_spilled_events_total",
                                  "Events kept on the gateway's disk because the log was away.")),
      moved_(metrics.GetCounter("millrace_gateway_spill_moved_events_total",
                                "Events moved from the gateway's disk into the log.")),
      waiting_gauge_(
          metrics.GetGauge("millrace_gateway_spill_waiting_events",
                           "Events on the gateway's disk that the log does not have yet.")),
      spill_(std::move(spill)) {}

StatusOr<std::unique_ptr<SpillAppender>> SpillAppender::Create(
    NewAppender new_primary, std::unique_ptr<event_log::EventLog> spill,
    telemetry::Metrics& metrics, Clock& clock, const Options& options) {
  std::unique_ptr<SpillAppender> made(
      new SpillAppender(std::move(new_primary), std::move(spill), metrics, clock, options));
  MR_RETURN_IF_ERROR(made->Open());
  return made;
}

Status SpillAppender::Open() {
  MR_ASSIGN_OR_RETURN(primary_, new_primary_());
  const std::string topic(event_log::kIngestTopic);
  // One partition keeps the order of all; what is moved is free at once.
  MR_RETURN_IF_ERROR(
      spill_->EnsureTopic(topic, {.partitions = 1, .readers = {std::string(kGroup)}}));
  MR_ASSIGN_OR_RETURN(spill_appender_, spill_->NewAppender());
  MR_ASSIGN_OR_RETURN(consumer_,
                      spill_->NewConsumer({.group = std::string(kGroup), .instance = "gateway"}));
  MR_RETURN_IF_ERROR(consumer_->Subscribe({topic}));
  MR_ASSIGN_OR_RETURN(const auto partitions, spill_->Describe(topic));
  MR_ASSIGN_OR_RETURN(const auto committed, spill_->Committed(std::string(kGroup), topic));
  int64_t from = committed.at(0).offset;
  if (from < 0) {
    from = partitions.at(0).begin_offset;
    MR_RETURN_IF_ERROR(CommitFirst(from));
  }
  {
    MutexLock lock(mu_);
    waiting_ = static_cast<uint64_t>(std::max<int64_t>(0, partitions.at(0).end_offset - from));
    waiting_gauge_.Set(static_cast<double>(waiting_));
    if (waiting_ > 0) {
      log::Info("spill: {} events of an earlier run are moved into the log", waiting_);
      mode_ = Mode::kSpilling;
    }
  }
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  return OkStatus();
}

// Before anything is kept, so that nothing is ever old to a spill that was not moved yet.
Status SpillAppender::CommitFirst(int64_t offset) {
  MR_RETURN_IF_ERROR(consumer_->Poll({.timeout = std::chrono::milliseconds(0)}).status());
  const event_log::CommittedOffset first{.partition = {std::string(event_log::kIngestTopic), 0},
                                         .offset = offset};
  MR_RETURN_IF_ERROR(consumer_->Commit(std::span(&first, 1)));
  return consumer_->Seek(first.partition, offset);
}

SpillAppender::~SpillAppender() {
  thread_.request_stop();
  if (consumer_ != nullptr) consumer_->Wake();
  if (thread_.joinable()) thread_.join();
  SpillHeld();
  primary_.reset();
  spill_appender_.reset();
}

uint64_t SpillAppender::waiting() const {
  MutexLock lock(mu_);
  return waiting_;
}

bool SpillAppender::spilling() const {
  MutexLock lock(mu_);
  return mode_ == Mode::kSpilling;
}

void SpillAppender::SetModeLocked(Mode mode) {
  if (mode_ == mode) return;
  if (mode == Mode::kSpilling && mode_ == Mode::kDirect) {
    log::Warning("spill: the log is away; events are kept on this disk until it is back");
  }
  if (mode == Mode::kDirect) log::Info("spill: all events are in the log again");
  mode_ = mode;
  changed_.notify_all();
}

void SpillAppender::Append(std::span<const TopicRecord> records, Done done) {
  auto copy = std::make_unique<Copy>(records);
  bool direct = false;
  uint64_t number = 0;
  {
    MutexLock lock(mu_);
    if (mode_ == Mode::kClosing) {
      if (held_bytes_ + copy->bytes.size() <= options_.max_held_bytes) {
        held_bytes_ += copy->bytes.size();
        held_.push_back({std::move(copy), std::move(done)});
        return;
      }
      SetModeLocked(Mode::kSpilling);  // the mover puts what is held into the spill
    }
    direct = mode_ == Mode::kDirect;
    if (direct)
      number = BeginDirectLocked();
    else
      ++spilling_;
  }
  if (direct) return AppendDirect(number, std::move(copy), std::move(done));
  AppendToSpill(records, std::move(done));
}

uint64_t SpillAppender::BeginDirectLocked() {
  direct_.emplace(next_direct_, clock_.Monotonic());
  if (direct_.size() == 1) changed_.notify_all();
  return next_direct_++;
}

void SpillAppender::AppendDirect(uint64_t number, std::unique_ptr<Copy> copy, Done done) {
  const std::span<const TopicRecord> records = copy->records;
  const std::shared_ptr<event_log::Appender> primary = primary_;
  primary->Append(records,
                  [this, number, held = std::make_shared<std::unique_ptr<Copy>>(std::move(copy)),
                   done = std::move(done)](Status status) {
                    DirectDone(number, std::move(*held), done, std::move(status));
                  });
}

void SpillAppender::DirectDone(uint64_t number, std::unique_ptr<Copy> copy, const Done& done,
                               Status status) {
  const bool away = IsAway(status);
  if (away) {
    {
      MutexLock lock(mu_);
      SetModeLocked(Mode::kSpilling);
      ++spilling_;
    }
    // Before the append counts as over, so that nothing is moved ahead of it.
    AppendToSpill(copy->records, done);
  } else {
    done(std::move(status));
  }
  MutexLock lock(mu_);
  direct_.erase(number);
  if (direct_.empty()) changed_.notify_all();
}

// `spilling_` counts it already, since the mode was decided.
void SpillAppender::AppendToSpill(std::span<const TopicRecord> records, Done done) {
  std::vector<TopicRecord> local(records.begin(), records.end());
  for (TopicRecord& one : local) one.record.partition = -1;
  spill_appender_->Append(
      local, [this, count = records.size(), done = std::move(done)](const Status& status) {
        {
          MutexLock lock(mu_);
          --spilling_;
          if (status.ok()) {
            waiting_ += count;
            waiting_gauge_.Set(static_cast<double>(waiting_));
            spilled_.Add(static_cast<double>(count));
          }
          changed_.notify_all();
        }
        done(status);
      });
}

void SpillAppender::Run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    bool direct = false;
    {
      MutexLock lock(mu_);
      direct = mode_ == Mode::kDirect;
    }
    if (direct)
      WatchDirect(stop);
    else
      MoveSome(stop);
  }
}

// Until the log leaves an append unanswered for too long.
void SpillAppender::WatchDirect(const std::stop_token& stop) {
  std::unique_lock<Mutex> lock(mu_);
  changed_.wait(lock, stop, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return mode_ != Mode::kDirect || !direct_.empty();
  });
  if (mode_ != Mode::kDirect || direct_.empty()) return;
  if (clock_.Monotonic() - direct_.begin()->second >= options_.patience)
    return SetModeLocked(Mode::kSpilling);
  changed_.wait_for(lock, stop, kTick,
                    [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return mode_ != Mode::kDirect; });
}

void SpillAppender::MoveSome(const std::stop_token& stop) {
  uint64_t waiting = 0;
  {
    // What the log was given before is older than anything in the spill.
    std::unique_lock<Mutex> lock(mu_);
    if (!direct_.empty()) {
      changed_.wait_for(lock, stop, kTick,
                        [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return direct_.empty(); });
      if (!direct_.empty()) return;
    }
    if (mode_ == Mode::kSpilling && !held_.empty()) {
      lock.unlock();
      return SpillHeld();
    }
    if (mode_ == Mode::kSpilling && waiting_ <= kClosingRecords) SetModeLocked(Mode::kClosing);
    if (mode_ == Mode::kClosing && waiting_ == 0 && spilling_ == 0) {
      lock.unlock();
      return GoOn(stop);
    }
    waiting = waiting_;
  }
  const auto batch = consumer_->Poll(
      {.max_records = 1000, .max_bytes = 1 << 20, .timeout = std::chrono::milliseconds(20)});
  if (!batch.ok()) {
    log::Warning("spill: reading it: {}", Message(batch.status()));
    std::unique_lock<Mutex> lock(mu_);
    changed_.wait_for(lock, stop, options_.retry, [] { return false; });
    return;
  }
  if (batch->records.empty()) {
    if (waiting > 0 && !stop.stop_requested()) CountAsLost(waiting);
    return;
  }
  if (!Move(*batch, stop)) return;
  MutexLock lock(mu_);
  waiting_ -= std::min<uint64_t>(waiting_, batch->records.size());
  waiting_gauge_.Set(static_cast<double>(waiting_));
  moved_.Add(static_cast<double>(batch->records.size()));
}

// The spill's log passes over what the disk has damaged; nothing must wait for that.
void SpillAppender::CountAsLost(uint64_t events) {
  log::Error("spill: {} events cannot be read from the disk any more", events);
  MutexLock lock(mu_);
  waiting_ -= std::min(waiting_, events);
  waiting_gauge_.Set(static_cast<double>(waiting_));
}

// Puts the batch into the log, however long it takes; false: told to stop before.
bool SpillAppender::Move(const event_log::RecordBatch& batch, const std::stop_token& stop) {
  std::vector<TopicRecord> records;
  std::vector<std::string> metas(batch.records.size());
  records.reserve(batch.records.size());
  for (const auto& one : batch.records) {
    records.push_back(
        {event_log::kIngestTopic, {.key = one.key, .meta = one.meta, .value = one.value}});
  }
  size_t done = 0;
  size_t step = records.size();
  while (done < records.size()) {
    const auto part = std::span(records).subspan(done, std::min(step, records.size() - done));
    const Status status = AppendAndWait(part, stop);
    if (stop.stop_requested()) return false;
    if (status.ok()) {
      done += part.size();
      continue;
    }
    if (status.code() == StatusCode::kInvalidArgument) {
      if (part.size() > 1) {
        step = 1;  // finds the one that the log never takes
        continue;
      }
      log::Error("spill: the log refuses an event of {} bytes; it goes to the dead letters",
                 part[0].record.value.size());
      metas[done] = RejectedMeta(part[0].record.meta);
      part[0].record.meta = metas[done];
      if (part[0].record.value.size() > kKeptOfTooLarge) {
        part[0].record.value = part[0].record.value.substr(0, kKeptOfTooLarge);
        continue;
      }
    }
    {
      MutexLock lock(mu_);
      SetModeLocked(Mode::kSpilling);
    }
    SpillHeld();
    // Nobody else uses the appender now: nothing is on its way to the log but this.
    if (status.code() == StatusCode::kFailedPrecondition) {
      log::Warning("spill: {}; connecting to the log anew", Message(status));
      if (auto fresh = new_primary_(); fresh.ok()) primary_ = *std::move(fresh);
    }
    std::unique_lock<Mutex> lock(mu_);
    changed_.wait_for(lock, stop, options_.retry, [] { return false; });
    if (stop.stop_requested()) return false;
  }
  const event_log::CommittedOffset offset{.partition = batch.source_of(batch.records.back()),
                                          .offset = batch.records.back().offset + 1};
  // Not committed: moved again after a restart.
  const Status committed = consumer_->Commit(std::span(&offset, 1));
  if (!committed.ok()) log::Warning("spill: remembering what was moved: {}", Message(committed));
  return true;
}

Status SpillAppender::AppendAndWait(std::span<const TopicRecord> records,
                                    const std::stop_token& stop) {
  struct Answer {
    Mutex mu;
    std::condition_variable_any came;
    bool there = false;
    Status status;
  };
  const auto answer = std::make_shared<Answer>();
  primary_->Append(records, [answer](Status status) {
    MutexLock lock(answer->mu);
    answer->status = std::move(status);
    answer->there = true;
    answer->came.notify_all();
  });
  std::unique_lock<Mutex> lock(answer->mu);
  const bool came =
      answer->came.wait_for(lock, stop, options_.patience, [&] { return answer->there; });
  if (!came && !stop.stop_requested()) {
    // Still away: what is held waits no longer.
    lock.unlock();
    {
      MutexLock mode(mu_);
      SetModeLocked(Mode::kSpilling);
    }
    SpillHeld();
    lock.lock();
    answer->came.wait(lock, stop, [&] { return answer->there; });
  }
  return answer->there ? answer->status : MakeStatus(StatusCode::kCancelled, "stopped");
}

// The spill is empty: what was held goes to the log, then everything does.
void SpillAppender::GoOn(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::deque<Held> held;
    uint64_t number = 0;
    {
      MutexLock lock(mu_);
      if (mode_ != Mode::kClosing) return;  // away again
      if (held_.empty()) return SetModeLocked(Mode::kDirect);
      held.swap(held_);
      held_bytes_ = 0;
      number = next_direct_;
      for (size_t i = 0; i < held.size(); ++i) BeginDirectLocked();
    }
    for (Held& one : held) AppendDirect(number++, std::move(one.copy), std::move(one.done));
  }
}

void SpillAppender::SpillHeld() {
  std::deque<Held> held;
  {
    MutexLock lock(mu_);
    held.swap(held_);
    held_bytes_ = 0;
    spilling_ += held.size();
  }
  for (Held& one : held) AppendToSpill(one.copy->records, std::move(one.done));
}

}  // namespace millrace::gateway
