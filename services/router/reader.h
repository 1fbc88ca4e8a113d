#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/event_log/event_log.h"
#include "services/router/commit_job.h"

namespace millrace::router {

/// What the reader tells its worker. Called on the reader's thread; must not block.
struct ReaderEvents {
  std::function<void(event_log::RecordBatch)> records;
  std::function<void(std::vector<event_log::CommittedOffset>)> assigned;
  /// Give the partitions up: finish what is under way within `wait`, then call Reader::Dropped.
  std::function<void(std::vector<event_log::TopicPartition>, std::chrono::milliseconds wait)> drop;
  std::function<void()> committed;
  /// Reading of the partition goes on where Reader::Seek said: what comes from now on is from
  /// there.
  std::function<void(event_log::TopicPartition)> sought;
};

struct ReaderOptions {
  std::string id;  // of the group member and of the transaction
  std::chrono::milliseconds revoke_wait{10'000};
};

/// The thread that owns one worker's consumer and transaction: polls, commits what the worker
/// finished, and hands partitions over. Starts anew when it is fenced.
///
/// Thread-safety: all methods may be called from any thread, Start and Stop once each.
class Reader final : private event_log::RebalanceListener {
 public:
  Reader(event_log::EventLog& log, ReaderOptions options, ReaderEvents events);
  ~Reader() override;

  void Start();
  /// Gives all partitions up within `wait`, commits, ends the thread.
  void Stop(std::chrono::milliseconds wait);
  /// Those of them that exist are read; the others as soon as they do.
  void SetTopics(std::vector<std::string> topics);
  /// One at a time: the next only after `committed`.
  void Commit(CommitJob job);
  /// Answers `drop` with what remains to be committed.
  void Dropped(CommitJob job);
  void SetPaused(const event_log::TopicPartition& partition, bool paused);
  /// Answered by `sought`, unless the partition is given up before.
  void Seek(const event_log::TopicPartition& partition, int64_t offset);
  /// One batch less waits at the worker.
  void BatchTaken();

 private:
  void OnAssigned(std::span<const event_log::CommittedOffset> partitions) override;
  void OnRevoked(std::span<const event_log::TopicPartition> partitions) override;
  void Run();
  bool Open();
  void Restart();
  void Turn();
  void Poll();
  void Subscribe();
  void Obey();
  void ForgetCommands(const std::vector<event_log::TopicPartition>& partitions);
  /// Takes out of the current job what belongs to destinations that are gone.
  /// kFailedPrecondition: only the topic of their parked users is.
  Status LeaveOutGone();
  bool WaitForWork();
  bool TakeJob();
  Status Execute();
  Status RunTransaction();
  /// Tries the current job until it is in, or the consumer must start anew (false).
  bool CommitCurrent(bool wait_for_log);
  bool Drop(std::vector<event_log::TopicPartition> partitions, std::chrono::milliseconds wait,
            bool commit);
  void Sleep(std::chrono::milliseconds time);

  event_log::EventLog& log_;
  const ReaderOptions options_;
  const ReaderEvents events_;
  std::thread thread_;

  // The reader thread's.
  std::unique_ptr<event_log::Transaction> transaction_;
  std::set<event_log::TopicPartition> assigned_;
  std::optional<CommitJob> current_;
  std::vector<std::string> wanted_;  // of which those that exist are
  std::vector<std::string> subscribed_;
  std::chrono::steady_clock::time_point look_again_{};
  bool must_restart_ = false;

  Mutex mu_;
  std::condition_variable changed_;
  std::unique_ptr<event_log::Consumer> consumer_;  // made and used by the thread; woken under mu_
  std::optional<CommitJob> job_ ABSL_GUARDED_BY(mu_);
  std::optional<CommitJob> dropped_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> topics_ ABSL_GUARDED_BY(mu_);
  struct Command {
    enum class Kind { kPause, kResume, kSeek };
    event_log::TopicPartition partition;
    Kind kind = Kind::kPause;
    int64_t offset = 0;
  };
  void Add(Command command);
  std::vector<Command> commands_ ABSL_GUARDED_BY(mu_);
  int waiting_batches_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::chrono::milliseconds stop_wait_ ABSL_GUARDED_BY(mu_){0};
};

}  // namespace millrace::router
