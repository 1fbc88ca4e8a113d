#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "libs/base/clock.h"
#include "libs/event_log/event_log.h"
#include "services/router/commit_job.h"
#include "services/router/parked_users.h"
#include "services/router/partition_window.h"
#include "services/router/target.h"

namespace millrace::router {

struct LaneOptions {
  WindowLimits window;
  std::chrono::milliseconds park_after{10'000};
  std::chrono::milliseconds longest_wait{3'600'000};  // between two tries of a parked user
  std::chrono::seconds max_age{259'200};
};

/// What a lane asks of its worker.
class LaneHost {
 public:
  virtual ~LaneHost() = default;
  /// `delivery` is the first of its user: it is to be tried at `at`.
  virtual void StartAt(const DeliveryPtr& delivery, MonotonicTime at) = 0;
  /// Takes a delivery that waits out of the engine's hands.
  virtual void Withdraw(const DeliveryPtr& delivery) = 0;
  /// `record` is appended with the next commit.
  virtual void Park(ParkedRecord record) = 0;
  /// Something is to be committed.
  virtual void NoteChange() = 0;
  /// Whether more may be added to what is to be committed, where it can wait.
  virtual bool MayWriteMore() const = 0;
  /// The delivery ends before its destination took it.
  virtual void GiveUp(const DeliveryPtr& delivery, std::string error_class, std::string reason) = 0;
  virtual void SetPaused(const event_log::TopicPartition& partition, bool paused) = 0;
  /// Reading goes on at `offset`; Lane::OnSought follows.
  virtual void Seek(const event_log::TopicPartition& partition, int64_t offset) = 0;
};

/// One partition of a destination's topic and the same of its parking topic, which one worker
/// always works on together. It parks users that hold up the others: their events move, in order,
/// to the end of the parking topic, in one transaction with the offsets; what comes later of them
/// follows. What fails there again moves to its end, so that neither partition ever stands behind
/// one user.
///
/// Nothing of the destination's topic is taken in before it is known who is parked. A worker that
/// has only one of the two partitions works on neither while users are parked.
///
/// Owned by a worker, used by its thread only; the host outlives it.
class Lane {
 public:
  enum Half { kMain = 0, kParking = 1 };

  Lane(std::shared_ptr<Target> target, LaneOptions options, WindowDeps window_deps, LaneHost& host);

  Target& target() const { return *target_; }
  /// Null while the half is not worked on.
  const std::shared_ptr<PartitionWindow>& window(Half half) const { return halves_[half].window; }
  bool owns_any() const { return halves_[kMain].from || halves_[kParking].from; }

  void OnAssigned(const event_log::CommittedOffset& from, Half half, MonotonicTime now);
  void OnRecord(Half half, const event_log::ConsumedRecord& record, MonotonicTime now);
  /// After the records of a batch, after commits, and now and then.
  void PauseOrResume();
  void OnSought(Half half);

  /// The half is to be given up: what must not be started any more.
  std::vector<std::shared_ptr<PartitionWindow>> BeginDrop(Half half);
  /// All that was under way has ended, and the last offsets were taken.
  void EndDrop(MonotonicTime now);

  /// The delivery is done; starts the next of its user.
  void OnEnd(const DeliveryPtr& delivery, MonotonicTime now);
  /// An attempt failed that may be tried again at `retry_at`. True: the lane has taken the event
  /// into the parking topic.
  bool TakesOver(const DeliveryPtr& delivery, MonotonicTime now, MonotonicTime retry_at);
  /// Moves out of the way what holds up others.
  void Relieve(MonotonicTime now);
  /// Ends what is too old, and what is to be given up.
  void EndOverdue(MonotonicTime now);

  /// Adds the offsets that moved since the last time.
  void AddOffsets(std::vector<event_log::CommittedOffset>* offsets);

  /// Whether there may be something for EndOverdue to give up.
  bool gives_up() const {
    return !target_->give_up.empty() || target_->shared->bytes_to_give_up() > 0;
  }

  size_t parked_users() const { return parked_.users(); }
  size_t parked_events() const { return parked_.events(); }

 private:
  struct HalfState {
    std::optional<event_log::CommittedOffset> from;  // set while the partition is ours
    std::shared_ptr<PartitionWindow> window;
    bool paused = false;
    bool skipped = false;  // records went by unread: reading has to go back
    bool seeking = false;
    bool dropping = false;
  };
  /// Finds out who is parked, from the parking topic itself.
  struct Scan {
    size_t expected = 0;
    size_t seen = 0;
    std::optional<int64_t> skipped_from;  // the first that had no room in memory
    std::vector<DeliveryPtr> first_of_user;
    struct User {
      uint32_t events = 0;
      int64_t last_position = 0;
      uint32_t to_pass = 0;
    };
    std::unordered_map<uint64_t, User> users;
    MonotonicTime progress_at{};
  };

  bool parks() const;
  void Activate(MonotonicTime now);
  void Open(Half half);
  void Hold(Half half);
  void SetPaused(HalfState& half, bool paused);
  void OnScanned(const event_log::ConsumedRecord& record, MonotonicTime now);
  void NoteOrder(const event_log::ConsumedRecord& record);
  void EndScan(MonotonicTime now);
  DeliveryPtr PassFirst(const DeliveryPtr& first);
  void OnMainRecord(const event_log::ConsumedRecord& record, MonotonicTime now);
  void OnParkedRecord(const event_log::ConsumedRecord& record, MonotonicTime now);
  MonotonicTime DueOf(const Delivery& delivery, MonotonicTime now) const;

  void MoveUser(const DeliveryPtr& first);
  void MoveWaiting(const std::vector<DeliveryPtr>& waiting, MonotonicTime now);
  void NoteRetryAt(Delivery& delivery, MonotonicTime retry_at, MonotonicTime now) const;
  void Append(const Delivery& delivery);
  void AppendAndRemove(const DeliveryPtr& delivery);
  void ReleaseHeld(uint64_t user);
  void ParkFailing(MonotonicTime now);
  void MarkHot(Half half);
  void Rotate(MonotonicTime now);

  const std::shared_ptr<Target> target_;
  const LaneOptions options_;
  const WindowDeps window_deps_;
  LaneHost& host_;
  HalfState halves_[2];
  std::optional<Scan> scan_;
  ParkedUsers parked_;
  // Events of the destination's topic whose user moves, by user: they follow when it has moved.
  std::unordered_map<uint64_t, std::vector<DeliveryPtr>> held_;
  // Users to be moved as soon as their event under way has ended.
  std::unordered_set<uint64_t> marked_[2];
  MonotonicTime main_full_since_{};
  MonotonicTime parking_full_since_{};
  MonotonicTime rotate_at_{};
  std::chrono::milliseconds rotate_wait_{0};
};

/// How many users are parked by the note of a committed offset.
size_t ParkedByNote(std::string_view metadata);

}  // namespace millrace::router
