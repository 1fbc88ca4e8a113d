#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "services/router/delivery_engine.h"
#include "services/router/inbox.h"
#include "services/router/outcomes.h"
#include "services/router/partition_window.h"
#include "services/router/reader.h"
#include "services/router/router.h"
#include "services/router/target.h"

namespace millrace::router {

/// One thread that takes in the events of its share of the partitions, has its engine deliver them,
/// and gathers what is to be committed; its Reader polls and commits on another.
///
/// Thread-safety: Start, Stop once each; SetWorkspace any thread.
class Worker final : private EngineListener {
 public:
  static StatusOr<std::unique_ptr<Worker>> Create(const settings::v1::RouterSettings& settings,
                                                  const Deps& deps, uint32_t index);
  ~Worker() override;

  void Start();
  void Stop(std::chrono::milliseconds deadline);
  /// `topics`: those of the workspace's HTTP destinations; they exist.
  void SetWorkspace(config::WorkspacePtr workspace, std::vector<std::string> topics);

 private:
  using WindowPtr = std::shared_ptr<PartitionWindow>;

  Worker(const settings::v1::RouterSettings& settings, const Deps& deps, uint32_t index,
         std::unique_ptr<delivery::Transport> transport);
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

  // From the engine.
  void OnEnd(const DeliveryPtr& delivery, const Ending& ending) override;
  void OnFailure(const DeliveryPtr& delivery, const destination::Answer& answer) override;

  // Commits and the windows' bounds.
  void CommitIfDue(MonotonicTime now);
  CommitJob MakeJob();
  void CompleteDropIfDone(MonotonicTime now);
  void PauseOrResume(PartitionWindow& window);
  void NoteChange();
  void ShowGauges(MonotonicTime now);

  const settings::v1::RouterSettings settings_;
  const Deps deps_;
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
  std::map<event_log::TopicPartition, WindowPtr> windows_;
  bool commit_in_flight_ = false;
  std::optional<MonotonicTime> changed_at_;  // of the first thing not yet committed
  struct Drop {
    std::vector<WindowPtr> windows;
    MonotonicTime deadline;
  };
  std::optional<Drop> drop_;
  MonotonicTime gauges_at_{};
};

}  // namespace millrace::router
