#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/delivery/retry_policy.h"
#include "libs/delivery/transport.h"
#include "libs/destination/catalogue.h"
#include "libs/destination/mapper.h"
#include "services/router/delivery.h"
#include "services/router/inbox.h"
#include "services/router/target.h"

namespace millrace::router {

/// How a delivery came to its end. `error_class` is empty unless it was dead-lettered.
struct Ending {
  delivery::v1::Outcome outcome = delivery::v1::DELIVERED;
  std::string error_class;
  std::string reason;
  std::string stack;
  const destination::Answer* answer = nullptr;  // the last one, where there is one
};

/// Told what becomes of the deliveries that an engine was given.
class EngineListener {
 public:
  virtual ~EngineListener() = default;
  virtual void OnEnd(const DeliveryPtr& delivery, const Ending& ending) = 0;
  /// An attempt failed, the next may be made at `retry_at`. True: the listener takes the delivery
  /// out of the engine's hands.
  virtual bool OnFailure(const DeliveryPtr& delivery, const destination::Answer& answer,
                         MonotonicTime retry_at) = 0;
  /// The destination began or ceased to fail as a whole.
  virtual void OnCircuit(Target& target) = 0;
};

struct EngineOptions {
  delivery::RetryOptions retry;
  size_t mapping_batch = 100;
  uint32_t request_timeout_ms = 30'000;
  uint32_t connect_timeout_ms = 5'000;
  /// An event that fails for so long says nothing of its destination any more.
  std::chrono::milliseconds suspect_for{10'000};
};

/// The way of a delivery from memory to its destination: map, throttle, send, judge, try again. It
/// knows no log and no HTTP, and works only on the destinations that have something to do.
///
/// While a destination fails as a whole (its circuit is open) only probes are sent, and it costs
/// the same whether few or many wait. Events that failed before, and those of parked users, have a
/// fourth of the turns each while others wait, so that many of them stand before nobody.
///
/// Owned by a worker, used by its thread only. The listener, clock, transport and inbox outlive it.
class DeliveryEngine {
 public:
  using MakeMapper =
      std::function<StatusOr<std::shared_ptr<destination::Mapper>>(const config::v1::Destination&)>;

  DeliveryEngine(EngineOptions options, Clock& clock, delivery::Transport& transport,
                 std::shared_ptr<Inbox> inbox, MakeMapper make_mapper, EngineListener& listener);

  /// `delivery` is the first of its user; it may go at `at`.
  void StartAt(const DeliveryPtr& delivery, MonotonicTime at);
  /// Takes a delivery that waits or is queued out of the engine's hands.
  void Withdraw(const DeliveryPtr& delivery);
  /// The destination was changed: it is mapped anew, and all is tried at once.
  void OnChanged(Target& target);
  /// Its circuit changed, maybe by another worker.
  void OnCircuit(Target& target);
  /// Nothing of `window` is started any more.
  void Forget(const PartitionWindow& window);
  /// `target` goes; nothing of it is in memory or under way.
  void Forget(Target& target);

  /// Starts all that may start now.
  void Turn(MonotonicTime now);
  /// When Turn has something to do, if nothing happens before.
  MonotonicTime next() const;

 private:
  void SetReady(Target& target);
  void Work(Target& target, MonotonicTime now);
  void TakeDue(Target& target, MonotonicTime now);
  void MakeAllDue(Target& target);
  void SetTimer(Target& target, MonotonicTime now);
  MonotonicTime NextTime(const Target& target, MonotonicTime now) const;

  bool EnsureMapper(Target& target, MonotonicTime now);
  void Map(Target& target, Target::Queue& queue, MonotonicTime now);
  void OnMapped(Target& target, const std::vector<DeliveryPtr>& deliveries,
                std::vector<destination::MapResult> results, uint64_t version);
  void OnMappedOne(Target& target, const DeliveryPtr& delivery, destination::MapResult& result,
                   uint64_t version);
  void Prepare(const Target& target, Delivery& delivery) const;

  static bool HasRoom(const Target& target);
  static std::deque<DeliveryPtr>* NextToSend(Target& target);
  void SendReady(Target& target, MonotonicTime now);
  void Probe(Target& target, MonotonicTime now);
  static DeliveryPtr PickProbe(const Target& target);
  void Send(Target& target, const DeliveryPtr& delivery);
  void OnAnswer(const DeliveryPtr& delivery, const destination::Answer& answer);
  void Judge(const DeliveryPtr& delivery, const destination::Answer& answer, bool probe);
  void TellCircuit(const DeliveryPtr& delivery, const destination::Answer& answer,
                   delivery::AnswerKind kind, bool probe);
  void OnDelivered(Target& target, const DeliveryPtr& delivery, const destination::Answer& answer);
  void Retry(const DeliveryPtr& delivery, const destination::Answer& answer);
  void Wait(const DeliveryPtr& delivery, MonotonicTime at);
  void Queue(const DeliveryPtr& delivery);

  const EngineOptions options_;
  Clock& clock_;
  delivery::Transport& transport_;
  const std::shared_ptr<Inbox> inbox_;
  const MakeMapper make_mapper_;
  EngineListener& listener_;
  std::vector<Target*> ready_;
  std::set<std::pair<MonotonicTime, Target*>> timers_;
};

/// The answer in a few words.
std::string ReasonOf(const destination::Answer& answer);

}  // namespace millrace::router
