#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/event_log/event_log.h"
#include "libs/telemetry/metrics.h"

namespace millrace::gateway {

/// An appender that goes on when its log is away: what the log does not take is kept in a local log
/// (the spill), acknowledged from there, and moved into the log, in order and before anything
/// newer, once it is back. What a crash leaves in the spill is moved after the restart.
///
/// An append that the log neither took nor refused in time may be in both, and a batch that was
/// being moved at a crash is moved again: at least once, as when a client sends again; dedup knows
/// them by messageId.
///
/// Thread-safety: all methods may be called from any thread. Errors of Append: kResourceExhausted
/// when the spill has reached its quota as well.
class SpillAppender final : public event_log::Appender {
 public:
  struct Options {
    /// The log counts as away when it leaves an append unanswered for so long.
    std::chrono::milliseconds patience{2000};
    /// Between two attempts to move a batch.
    std::chrono::milliseconds retry{500};
    /// Appends that wait in memory while the last of the spill is moved, bytes.
    size_t max_held_bytes = 16 << 20;
  };

  using NewAppender = std::function<StatusOr<std::unique_ptr<event_log::Appender>>()>;

  /// `spill` is used by nobody else; `new_primary` makes the log's appender, again when one has
  /// become of no use. Errors: those of both.
  static StatusOr<std::unique_ptr<SpillAppender>> Create(NewAppender new_primary,
                                                         std::unique_ptr<event_log::EventLog> spill,
                                                         telemetry::Metrics& metrics, Clock& clock,
                                                         const Options& options);
  /// What is spilled stays for the next start.
  ~SpillAppender() override;

  void Append(std::span<const event_log::TopicRecord> records, event_log::Done done) override;

  /// Events in the spill that the log does not have yet.
  uint64_t waiting() const;
  /// Whether the log counts as away.
  bool spilling() const;

 private:
  enum class Mode {
    kDirect,    // to the log
    kSpilling,  // to the spill, which is moved behind
    kClosing,   // held in memory until the rest of the spill is moved
  };
  struct Copy;  // of records, with their bytes
  struct Held {
    std::unique_ptr<Copy> copy;
    event_log::Done done;
  };

  SpillAppender(NewAppender new_primary, std::unique_ptr<event_log::EventLog> spill,
                telemetry::Metrics& metrics, Clock& clock, const Options& options);

  Status Open();
  Status CommitFirst(int64_t offset);
  uint64_t BeginDirectLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AppendDirect(uint64_t number, std::unique_ptr<Copy> copy, event_log::Done done);
  void DirectDone(uint64_t number, std::unique_ptr<Copy> copy, const event_log::Done& done,
                  Status status);
  void AppendToSpill(std::span<const event_log::TopicRecord> records, event_log::Done done);
  void Run(const std::stop_token& stop);
  void WatchDirect(const std::stop_token& stop);
  void MoveSome(const std::stop_token& stop);
  void CountAsLost(uint64_t events);
  bool Move(const event_log::RecordBatch& batch, const std::stop_token& stop);
  Status AppendAndWait(std::span<const event_log::TopicRecord> records,
                       const std::stop_token& stop);
  void GoOn(const std::stop_token& stop);
  void SpillHeld();
  void SetModeLocked(Mode mode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  Clock& clock_;
  const NewAppender new_primary_;
  telemetry::Counter& spilled_;
  telemetry::Counter& moved_;
  telemetry::Gauge& waiting_gauge_;
  mutable Mutex mu_;
  std::condition_variable_any changed_;
  Mode mode_ ABSL_GUARDED_BY(mu_) = Mode::kDirect;
  uint64_t next_direct_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<uint64_t, MonotonicTime> direct_
      ABSL_GUARDED_BY(mu_);                     // unanswered, with their beginning
  uint64_t spilling_ ABSL_GUARDED_BY(mu_) = 0;  // appends to the spill, unanswered
  uint64_t waiting_ ABSL_GUARDED_BY(mu_) = 0;   // records in the spill
  std::deque<Held> held_ ABSL_GUARDED_BY(mu_);
  size_t held_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  // Destroyed from below: the log's outstanding appends may still go to the spill.
  std::unique_ptr<event_log::EventLog> spill_;
  std::unique_ptr<event_log::Appender> spill_appender_;
  std::unique_ptr<event_log::Consumer> consumer_;
  // Replaced by the mover, with nothing in `direct_`. Shared with the calls to it, which may be
  // answered before they return.
  std::shared_ptr<event_log::Appender> primary_;
  std::jthread thread_;
};

}  // namespace millrace::gateway
