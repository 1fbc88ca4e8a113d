#include "services/router/reader.h"

#include <algorithm>
#include <utility>

#include "libs/base/failpoint.h"
#include "libs/base/log.h"
#include "libs/pipeline/topology.h"

namespace millrace::router {
namespace {

constexpr int kMaxWaitingBatches = 4;
// What is read at once may have to be parked at once.
constexpr size_t kMostBytesAtOnce = 1 << 20;
constexpr std::chrono::milliseconds kRetryCommit{100};
constexpr std::chrono::milliseconds kRetryOpen{500};
constexpr std::chrono::milliseconds kLookForTopics{1'000};

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
  Add({partition, paused ? Command::Kind::kPause : Command::Kind::kResume});
}

void Reader::Seek(const event_log::TopicPartition& partition, int64_t offset) {
  Add({partition, Command::Kind::kSeek, offset});
}

void Reader::Add(Command command) {
  MutexLock lock(mu_);
  commands_.push_back(std::move(command));
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
  if (!Drop(mine, options_.revoke_wait, /*commit=*/true)) must_restart_ = true;
  // They may come back: what was meant for them before must not be done then.
  ForgetCommands(mine);
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
  auto consumer = log_.NewConsumer(
      {.group = std::string(pipeline::kRouterGroup), .instance = options_.id, .listener = this});
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
  look_again_ = {};
  transaction_.reset();
  std::unique_ptr<event_log::Consumer> old;
  {
    MutexLock lock(mu_);
    old = std::move(consumer_);
    commands_.clear();
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
  records.reserve(current_->records.size() + current_->parked.size());
  for (const OwnedRecord& owned : current_->records) {
    records.push_back({owned.topic, {.key = owned.key, .value = owned.value}});
  }
  for (const ParkedRecord& parked : current_->parked) {
    records.push_back({parked.to.topic,
                       {.key = parked.key,
                        .meta = parked.meta,
                        .value = parked.value,
                        .partition = parked.to.partition}});
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
  MR_RETURN_IF_ERROR(LeaveOutGone());
  return aborted.code() == StatusCode::kFailedPrecondition ? aborted : status;
}

Status Reader::LeaveOutGone() {
  const auto existing = log_.ListTopics();
  if (!existing.ok()) return OkStatus();  // the log is away: nothing is known to be gone
  const std::set<std::string> there(existing->begin(), existing->end());
  const auto gone = [&](const event_log::TopicPartition& partition) {
    return !there.contains(partition.topic);
  };
  for (const ParkedRecord& record : current_->parked) {
    const auto id = pipeline::ParkedDestinationOf(record.to.topic);
    if (!gone(record.to) || !id || !there.contains(event_log::DestinationTopic(*id))) continue;
    return Error(StatusCode::kFailedPrecondition, "topic '{}' is gone, its destination is not",
                 record.to.topic);
  }
  std::erase_if(current_->parked, [&](const auto& record) { return gone(record.to); });
  std::erase_if(current_->offsets, [&](const auto& offset) { return gone(offset.partition); });
  return OkStatus();
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
    if (is_last && current_->records.empty() && current_->parked.empty() &&
        current_->offsets.empty()) {
      current_.reset();
      return good;
    }
    if (good) good = CommitCurrent(/*wait_for_log=*/false);
    // A job that cannot be committed still has to be answered, or the worker waits for it. The last
    // one is not: by then the worker may have handed over the next, which that would let it
    // replace.
    if (!is_last) events_.committed();
    current_.reset();
    if (is_last) return good;
  }
}

bool Reader::WaitForWork() {
  MutexLock lock(mu_);
  changed_.wait_for(lock.native(), kLookForTopics, [this] {
    return stopping_ || job_ || !commands_.empty() || topics_ != wanted_ ||
           (!subscribed_.empty() && waiting_batches_ < kMaxWaitingBatches);
  });
  return !stopping_;
}

void Reader::Obey() {
  std::vector<Command> commands;
  {
    MutexLock lock(mu_);
    commands.swap(commands_);
  }
  for (const Command& command : commands) {
    if (!assigned_.contains(command.partition)) continue;
    switch (command.kind) {
      case Command::Kind::kPause:
        consumer_->Pause(command.partition);
        break;
      case Command::Kind::kResume:
        consumer_->Resume(command.partition);
        break;
      case Command::Kind::kSeek:
        if (const Status status = consumer_->Seek(command.partition, command.offset);
            !status.ok()) {
          log::Warning("router {}: {}", options_.id, Message(status));
          must_restart_ = true;
        }
        events_.sought(command.partition);
        break;
    }
  }
}

void Reader::ForgetCommands(const std::vector<event_log::TopicPartition>& partitions) {
  MutexLock lock(mu_);
  std::erase_if(commands_, [&](const Command& command) {
    return std::ranges::find(partitions, command.partition) != partitions.end();
  });
}

void Reader::Poll() {
  {
    MutexLock lock(mu_);
    if (job_ || stopping_ || subscribed_.empty() || waiting_batches_ >= kMaxWaitingBatches) return;
  }
  auto batch =
      consumer_->Poll({.max_bytes = kMostBytesAtOnce, .timeout = std::chrono::milliseconds(1000)});
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

void Reader::Subscribe() {
  std::vector<std::string> wanted;
  {
    MutexLock lock(mu_);
    wanted = topics_;
  }
  const auto now = std::chrono::steady_clock::now();
  const bool all_there = wanted.size() == subscribed_.size();
  if (wanted == wanted_ && (all_there || now < look_again_)) return;
  look_again_ = now + kLookForTopics;
  const auto existing = log_.ListTopics();
  if (!existing.ok()) {
    log::Warning("router {}: list topics: {}", options_.id, Message(existing.status()));
    return Sleep(kRetryOpen);
  }
  const std::set<std::string> there(existing->begin(), existing->end());
  std::vector<std::string> topics;
  for (const std::string& topic : wanted) {
    if (there.contains(topic)) topics.push_back(topic);
  }
  if (topics != subscribed_) {
    if (const Status status = consumer_->Subscribe(topics); !status.ok()) {
      log::Warning("router {}: subscribe: {}", options_.id, Message(status));
      return Sleep(kRetryOpen);
    }
  }
  MutexLock lock(mu_);
  subscribed_ = std::move(topics);
  wanted_ = std::move(wanted);
}

void Reader::Turn() {
  Subscribe();
  Obey();
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
