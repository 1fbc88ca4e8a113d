#include "services/router/reader.h"

#include <algorithm>
#include <utility>

#include "libs/base/failpoint.h"
#include "libs/base/log.h"

namespace millrace::router {
namespace {

constexpr int kMaxWaitingBatches = 4;
constexpr std::chrono::milliseconds kRetryCommit{100};
constexpr std::chrono::milliseconds kRetryOpen{500};

}  // namespace

Reader::Reader(event_log::EventLog& log, ReaderOptions options, ReaderEvents events)
    : log_(log), options_(std::move(options)), events_(std::move(events)) {}

Reader::~Reader() {
  Stop(std::chrono::milliseconds(0));
}

void Reader::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Reader::Stop(std::chrono::milliseconds wait) {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    stop_wait_ = wait;
    if (consumer_ != nullptr) consumer_->Wake();
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Reader::SetTopics(std::vector<std::string> topics) {
  MutexLock lock(mu_);
  topics_ = std::move(topics);
  if (consumer_ != nullptr) consumer_->Wake();
  changed_.notify_all();
}

void Reader::Commit(CommitJob job) {
  MutexLock lock(mu_);
  MR_CHECK(!job_);  // it would be lost
  job_ = std::move(job);
  if (consumer_ != nullptr) consumer_->Wake();
  changed_.notify_all();
}

void Reader::Dropped(CommitJob job) {
  MutexLock lock(mu_);
  dropped_ = std::move(job);
  changed_.notify_all();
}

void Reader::SetPaused(const event_log::TopicPartition& partition, bool paused) {
  MutexLock lock(mu_);
  pauses_.emplace_back(partition, paused);
  if (consumer_ != nullptr) consumer_->Wake();
  changed_.notify_all();
}

void Reader::BatchTaken() {
  MutexLock lock(mu_);
  if (waiting_batches_-- == kMaxWaitingBatches) changed_.notify_all();
}

void Reader::OnAssigned(std::span<const event_log::CommittedOffset> partitions) {
  std::vector<event_log::CommittedOffset> copy(partitions.begin(), partitions.end());
  for (const auto& offset : copy) assigned_.insert(offset.partition);
  events_.assigned(std::move(copy));
}

void Reader::OnRevoked(std::span<const event_log::TopicPartition> partitions) {
  std::vector<event_log::TopicPartition> mine;
  for (const auto& partition : partitions) {
    if (assigned_.erase(partition) > 0) mine.push_back(partition);
  }
  if (mine.empty()) return;
  if (!Drop(std::move(mine), options_.revoke_wait, /*commit=*/true)) must_restart_ = true;
}

void Reader::Sleep(std::chrono::milliseconds time) {
  MutexLock lock(mu_);
  changed_.wait_for(lock.native(), time, [this] { return stopping_; });
}

bool Reader::Open() {
  auto transaction = log_.NewTransaction(options_.id);
  if (!transaction.ok()) {
    log::Warning("router {}: no transaction: {}", options_.id, Message(transaction.status()));
    return false;
  }
  auto consumer = log_.NewConsumer({.group = "router", .instance = options_.id, .listener = this});
  if (!consumer.ok()) {
    log::Warning("router {}: no consumer: {}", options_.id, Message(consumer.status()));
    return false;
  }
  transaction_ = *std::move(transaction);
  MutexLock lock(mu_);
  consumer_ = *std::move(consumer);
  return true;
}

void Reader::Restart() {
  must_restart_ = false;
  std::vector<event_log::TopicPartition> all(assigned_.begin(), assigned_.end());
  assigned_.clear();
  // Nothing of it can be committed any more: the log gives the events again.
  Drop(std::move(all), options_.revoke_wait, /*commit=*/false);
  current_.reset();
  subscribed_.clear();
  transaction_.reset();
  std::unique_ptr<event_log::Consumer> old;
  {
    MutexLock lock(mu_);
    old = std::move(consumer_);
    pauses_.clear();
  }
}

bool Reader::TakeJob() {
  MutexLock lock(mu_);
  if (!job_) return false;
  current_ = std::exchange(job_, std::nullopt);
  return true;
}

Status Reader::RunTransaction() {
  MR_RETURN_IF_ERROR(transaction_->Begin());
  std::vector<event_log::TopicRecord> records;
  records.reserve(current_->records.size());
  for (const OwnedRecord& owned : current_->records) {
    records.push_back({owned.topic, {.key = owned.key, .value = owned.value}});
  }
  if (!records.empty()) MR_RETURN_IF_ERROR(transaction_->Append(records));
  if (!current_->offsets.empty()) {
    MR_RETURN_IF_ERROR(transaction_->AddOffsets(*consumer_, current_->offsets));
  }
  MR_RETURN_IF_ERROR(Failpoint("router.before_commit"));
  return transaction_->Commit();
}

Status Reader::Execute() {
  const Status status = RunTransaction();
  if (status.ok()) {
    // Durable: an error of this failpoint must not undo it.
    if (const Status after = Failpoint("router.after_commit"); !after.ok()) {
      log::Debug("router {}: {}", options_.id, Message(after));
    }
    current_.reset();
    return status;
  }
  log::Warning("router {}: commit: {}", options_.id, Message(status));
  if (status.code() == StatusCode::kFailedPrecondition) return status;
  const Status aborted = transaction_->Abort();
  return aborted.code() == StatusCode::kFailedPrecondition ? aborted : status;
}

bool Reader::CommitCurrent(bool wait_for_log) {
  constexpr int kTries = 50;
  for (int i = 0; wait_for_log || i < kTries; ++i) {
    const Status status = Execute();
    if (status.ok()) return true;
    if (status.code() == StatusCode::kFailedPrecondition) return false;
    {
      MutexLock lock(mu_);
      if (stopping_ && i >= kTries) return false;
    }
    std::this_thread::sleep_for(kRetryCommit);
  }
  return false;
}

bool Reader::Drop(std::vector<event_log::TopicPartition> partitions, std::chrono::milliseconds wait,
                  bool commit) {
  events_.drop(std::move(partitions), wait);
  bool good = commit;
  while (true) {
    std::optional<CommitJob> last;
    {
      MutexLock lock(mu_);
      changed_.wait(lock.native(), [this] { return job_ || dropped_; });
      if (job_) {
        current_ = std::exchange(job_, std::nullopt);
      } else {
        last = std::exchange(dropped_, std::nullopt);
      }
    }
    const bool is_last = last.has_value();
    if (is_last) current_ = std::move(last);
    if (is_last && current_->records.empty() && current_->offsets.empty()) {
      current_.reset();
      return good;
    }
    if (good) good = CommitCurrent(/*wait_for_log=*/false);
    // A job that cannot be committed still has to be answered, or the worker waits for it. The last
    // one is not: by then the worker may have handed over the next, which that would let it replace.
    if (!is_last) events_.committed();
    current_.reset();
    if (is_last) return good;
  }
}

bool Reader::WaitForWork() {
  MutexLock lock(mu_);
  changed_.wait(lock.native(), [this] {
    return stopping_ || job_ || !pauses_.empty() || topics_ != subscribed_ ||
           (!subscribed_.empty() && waiting_batches_ < kMaxWaitingBatches);
  });
  return !stopping_;
}

void Reader::ObeyPauses() {
  std::vector<std::pair<event_log::TopicPartition, bool>> pauses;
  {
    MutexLock lock(mu_);
    pauses.swap(pauses_);
  }
  for (const auto& [partition, paused] : pauses) {
    if (!assigned_.contains(partition)) continue;
    if (paused) {
      consumer_->Pause(partition);
    } else {
      consumer_->Resume(partition);
    }
  }
}

void Reader::Poll() {
  {
    MutexLock lock(mu_);
    if (job_ || stopping_ || subscribed_.empty() || waiting_batches_ >= kMaxWaitingBatches) return;
  }
  auto batch = consumer_->Poll({.timeout = std::chrono::milliseconds(1000)});
  if (!batch.ok()) {
    log::Warning("router {}: poll: {}", options_.id, Message(batch.status()));
    if (batch.status().code() == StatusCode::kFailedPrecondition) must_restart_ = true;
    Sleep(kRetryCommit);
    return;
  }
  if (batch->records.empty()) return;
  {
    MutexLock lock(mu_);
    ++waiting_batches_;
  }
  events_.records(*std::move(batch));
}

void Reader::Turn() {
  std::vector<std::string> topics;
  {
    MutexLock lock(mu_);
    topics = topics_;
  }
  if (topics != subscribed_) {
    if (const Status status = consumer_->Subscribe(topics); !status.ok()) {
      log::Warning("router {}: subscribe: {}", options_.id, Message(status));
      Sleep(kRetryOpen);
      return;
    }
    MutexLock lock(mu_);
    subscribed_ = std::move(topics);
  }
  ObeyPauses();
  if (TakeJob()) {
    if (!CommitCurrent(/*wait_for_log=*/true)) must_restart_ = true;
    events_.committed();
  }
  if (!must_restart_) Poll();
}

void Reader::Run() {
  while (WaitForWork()) {
    if (consumer_ == nullptr && !Open()) {
      Sleep(kRetryOpen);
      continue;
    }
    Turn();
    if (must_restart_) {
      log::Warning("router {}: starts its consumer anew", options_.id);
      Restart();
      Sleep(kRetryOpen);
    }
  }
  if (consumer_ == nullptr) return;
  std::chrono::milliseconds wait{0};
  {
    MutexLock lock(mu_);
    wait = stop_wait_;
  }
  std::vector<event_log::TopicPartition> all(assigned_.begin(), assigned_.end());
  assigned_.clear();
  Drop(std::move(all), wait, /*commit=*/true);
  transaction_.reset();
  std::unique_ptr<event_log::Consumer> old;
  MutexLock lock(mu_);
  old = std::move(consumer_);
}

}  // namespace millrace::router
