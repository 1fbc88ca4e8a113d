#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/backoff.h"
#include "libs/base/clock.h"
#include "libs/base/mutex.h"

namespace millrace::delivery {

struct CircuitOptions {
  uint32_t failures = 20;        // in a row, and none that succeeds among them,
  size_t users = 5;              // ... from at least so many users
  size_t forbidden_users = 3;    // 403 to so many users in a row: the credentials are refused
  uint32_t forbidden_tries = 3;  // 403 to one event, and the tool takes no other: the event's own
  BackoffPolicy probes{.initial = std::chrono::milliseconds(500),
                       .maximum = std::chrono::milliseconds(2'000)};
  /// A probe that is not answered for so long no longer keeps the next one back.
  std::chrono::milliseconds probe_patience{5'000};
};

/// What an answer says of the destination as a whole.
enum class AnswerKind {
  kSuccess,
  kRefusedEvent,  // an answer that is final for its event; the destination works
  kFailed,        // to be tried again: no answer, 5xx, 429, ...
  kUnauthorised,  // 401
  kForbidden,     // 403
};

/// Kept beside an event: what is known of the 403 answers it got.
struct ForbiddenNote {
  uint32_t times = 0;
  uint64_t successes = 0;
};

/// Tells a destination that fails as a whole from events that fail. While it is open only probes
/// are sent: single requests at short intervals, each with another user's event; the first that
/// succeeds closes it, and all goes on at full speed. Every call costs the same however many events
/// wait.
///
/// One for each destination of a process. Thread-safety: all methods may be called from any thread.
class Circuit {
 public:
  explicit Circuit(CircuitOptions options = {}) : options_(options) {}
  Circuit(const Circuit&) = delete;
  Circuit& operator=(const Circuit&) = delete;

  bool open() const;
  /// Whether a probe may be sent now. Always false while it is closed.
  bool MayProbe(MonotonicTime now) const;
  /// When MayProbe may be true next; only of use while it is open.
  MonotonicTime next_probe() const;
  /// Whether one of the last probes was an event of `user`: choose another while there is one.
  bool ProbedLately(std::string_view user) const;
  /// A probe with an event of `user` is sent. Its answer comes to OnAnswer with `probe`.
  void StartProbe(std::string_view user, MonotonicTime now);
  /// The answer of a probe will never come to OnAnswer.
  void DropProbe();

  /// `detail` is kept as the last error when the answer is no success. Returns true when the
  /// circuit opened or closed by it.
  bool OnAnswer(std::string_view user, AnswerKind kind, std::string_view detail, MonotonicTime now,
                bool probe = false);

  /// After a 403, once OnAnswer has been told: true when it is this event's own fault, as the
  /// destination took others meanwhile or this event alone was tried often enough. False: to be
  /// tried again, as the credentials may be refused.
  bool IsEventsOwn(ForbiddenNote& note) const;

  /// The destination was changed: closed, nothing remembered.
  void Reset();

  struct Report {
    bool open = false;
    bool credentials = false;  // they are refused; else it fails
    std::string reason;        // a sentence; empty while closed
    MonotonicTime since{};
    MonotonicTime next_probe{};
    uint32_t probes = 0;  // answered since it opened
  };
  Report Explain() const;

 private:
  static constexpr size_t kRememberedProbes = 16;

  bool Open(bool credentials, std::string reason, MonotonicTime now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Close() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool OnFailure(std::string_view user, AnswerKind kind, std::string_view detail, MonotonicTime now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void PlanProbe(MonotonicTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const CircuitOptions options_;
  mutable Mutex mu_;
  Report report_ ABSL_GUARDED_BY(mu_);
  uint64_t successes_ ABSL_GUARDED_BY(mu_) = 0;
  // Of the row of failures that goes on; users as hashes, no more than are asked for.
  uint32_t failures_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<size_t> failed_users_ ABSL_GUARDED_BY(mu_);
  std::vector<size_t> forbidden_users_ ABSL_GUARDED_BY(mu_);
  // Of the probes.
  uint32_t probes_under_way_ ABSL_GUARDED_BY(mu_) = 0;
  MonotonicTime last_probe_ ABSL_GUARDED_BY(mu_){};
  std::array<size_t, kRememberedProbes> probed_ ABSL_GUARDED_BY(mu_){};
  size_t probed_count_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace millrace::delivery
