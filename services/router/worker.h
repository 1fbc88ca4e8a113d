#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "services/router/delivery_engine.h"
#include "services/router/inbox.h"
#include "services/router/lane.h"
#include "services/router/outcomes.h"
#include "services/router/reader.h"
#include "services/router/router.h"
#include "services/router/shared.h"
#include "services/router/target.h"

namespace millrace::router {

/// One thread that takes in the events of its share of the partitions, has its engine deliver them,
/// and gathers what is to be committed; its Reader polls and commits on another.
///
/// Thread-safety: Start, Stop once each; SetWorkspace and OnCircuitChanged any thread.
class Worker final : private EngineListener, private LaneHost {
 public:
  /// `shared` outlives the worker.
  static StatusOr<std::unique_ptr<Worker>> Create(const settings::v1::RouterSettings& settings,
                                                  const Deps& deps, Shared& shared, uint32_t index);
  ~Worker() override;

  void Start();
  void Stop(std::chrono::milliseconds deadline);
  /// `topics`: those of the workspace's HTTP destinations, there or not.
  void SetWorkspace(config::WorkspacePtr workspace, std::vector<std::string> topics);
  void OnCircuitChanged(const std::string& destination_id);

 private:
  using LaneKey = std::pair<std::string, int32_t>;  // destination, partition
  struct Place {
    Lane* lane = nullptr;
    Lane::Half half = Lane::kMain;
  };

  Worker(const settings::v1::RouterSettings& settings, const Deps& deps, Shared& shared,
         uint32_t index, std::unique_ptr<delivery::Transport> transport);
  ReaderEvents Events();
  void Run();
  std::chrono::milliseconds TimeToWait(MonotonicTime now) const;

  // From the reader and the configuration.
  void OnWorkspace(const config::v1::Workspace& workspace);
  void OnAssigned(const std::vector<event_log::CommittedOffset>& partitions);
  void OnRecords(const event_log::RecordBatch& batch);
  void OnDrop(const std::vector<event_log::TopicPartition>& partitions,
              std::chrono::milliseconds wait);
  std::shared_ptr<Target> TargetOf(const std::string& id);
  void ApplyDestination(Target& target, const config::v1::Destination& destination);
  /// `add`: makes a lane that is not there. A place without lane: not ours.
  Place PlaceOf(const event_log::TopicPartition& partition, bool add);

  // From the engine.
  void OnEnd(const DeliveryPtr& delivery, const Ending& ending) override;
  bool OnFailure(const DeliveryPtr& delivery, const destination::Answer& answer,
                 MonotonicTime retry_at) override;
  void OnCircuit(Target& target) override;

  // From the lanes.
  void StartAt(const DeliveryPtr& delivery, MonotonicTime at) override;
  void Withdraw(const DeliveryPtr& delivery) override;
  void Park(ParkedRecord record) override;
  void NoteChange() override;
  bool MayWriteMore() const override;
  void GiveUp(const DeliveryPtr& delivery, std::string error_class, std::string reason) override;
  void SetPaused(const event_log::TopicPartition& partition, bool paused) override;
  void Seek(const event_log::TopicPartition& partition, int64_t offset) override;

  void CommitIfDue(MonotonicTime now);
  CommitJob MakeJob();
  void CompleteDropIfDone(MonotonicTime now);
  void LookAfter(MonotonicTime now);
  void ShowGauges(MonotonicTime now);

  const settings::v1::RouterSettings settings_;
  const Deps deps_;
  Shared& shared_;
  const std::string index_;
  const std::unique_ptr<delivery::Transport> transport_;
  const std::shared_ptr<Inbox> inbox_;
  Reader reader_;
  std::thread thread_;
  std::atomic<bool> stopping_{false};

  // The worker thread's.
  DeliveryEngine engine_;
  Outcomes outcomes_;
  std::map<std::string, std::shared_ptr<Target>, std::less<>> targets_;
  std::map<LaneKey, std::unique_ptr<Lane>> lanes_;
  std::vector<ParkedRecord> parked_;  // to be committed
  size_t parked_bytes_ = 0;
  int batches_held_back_ = 0;  // not yet answered, as too much is to be committed
  bool commit_in_flight_ = false;
  std::optional<MonotonicTime> changed_at_;  // of the first thing not yet committed
  struct Drop {
    std::vector<std::shared_ptr<PartitionWindow>> windows;
    std::set<LaneKey> lanes;
    MonotonicTime deadline;
  };
  std::optional<Drop> drop_;
  MonotonicTime look_after_at_{};
};

}  // namespace millrace::router
