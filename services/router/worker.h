#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "services/router/inbox.h"
#include "services/router/reader.h"
#include "services/router/results.h"
#include "services/router/router.h"
#include "services/router/target.h"

namespace millrace::router {

/// One thread that maps, sends and judges the events of its share of the partitions; its Reader
/// polls and commits on another.
///
/// Thread-safety: Start, Stop once each; SetWorkspace any thread.
class Worker {
 public:
  static StatusOr<std::unique_ptr<Worker>> Create(const settings::v1::RouterSettings& settings,
                                                  const Deps& deps, uint32_t index);
  ~Worker();

  void Start();
  void Stop(std::chrono::milliseconds deadline);
  /// `topics`: those of the workspace's HTTP destinations; they exist.
  void SetWorkspace(config::WorkspacePtr workspace, std::vector<std::string> topics);

 private:
  Worker(const settings::v1::RouterSettings& settings, const Deps& deps, uint32_t index,
         std::unique_ptr<http::Client> client);
  ReaderEvents Events();
  void Run();
  std::chrono::milliseconds TimeToWait(MonotonicTime now) const;

  // From the reader and the configuration.
  void OnWorkspace(const config::v1::Workspace& workspace);
  void OnAssigned(const std::vector<event_log::CommittedOffset>& partitions);
  void OnRecords(const event_log::RecordBatch& batch);
  void OnDrop(const std::vector<event_log::TopicPartition>& partitions,
              std::chrono::milliseconds wait);
  void TakeIn(const std::shared_ptr<Partition>& partition, const event_log::RecordBatch& batch,
              const event_log::ConsumedRecord& record);
  std::shared_ptr<Target> TargetOf(const std::string& id);
  void ApplyDestination(Target& target, const config::v1::Destination& destination);

  // The way of an event.
  void Pump();
  void Map(const std::shared_ptr<Target>& target);
  bool EnsureMapper(Target& target);
  void OnMapped(const std::shared_ptr<Target>& target, const std::vector<DeliveryPtr>& deliveries,
                std::vector<destination::MapResult> results, uint64_t version);
  void OnMappedOne(Target& target, const DeliveryPtr& delivery, destination::MapResult& result,
                   uint64_t version);
  void Prepare(const Target& target, Delivery& delivery) const;
  void SendReady(const std::shared_ptr<Target>& target);
  void Send(const std::shared_ptr<Target>& target, const DeliveryPtr& delivery);
  void OnAnswer(const DeliveryPtr& delivery, const http::ClientResponse& response);
  void Retry(const DeliveryPtr& delivery, const http::ClientResponse& response);
  void Queue(const DeliveryPtr& delivery);
  void DeadLetter(const DeliveryPtr& delivery, const std::string& error_class, std::string reason,
                  const std::string& stack, const http::ClientResponse* response);
  void Finish(const DeliveryPtr& delivery, delivery::v1::Outcome outcome, int http_status,
              std::string_view reason, std::string_view error_class);

  // Commits and the window's bounds.
  void CommitIfDue(MonotonicTime now);
  CommitJob MakeJob();
  void CompleteDropIfDone(MonotonicTime now);
  bool Full(const Partition& partition, size_t numerator, size_t denominator) const;
  void PauseOrResume(Partition& partition);
  void NoteChange();
  void ShowGauges(MonotonicTime now);
  Target::SourceMetrics& MetricsOf(Target& target, const std::string& source_id);

  const settings::v1::RouterSettings settings_;
  const Deps deps_;
  const std::string index_;
  const std::unique_ptr<http::Client> client_;
  const std::shared_ptr<Inbox> inbox_;
  Reader reader_;
  std::thread thread_;
  std::atomic<bool> stopping_{false};

  // The worker thread's.
  std::map<std::string, std::shared_ptr<Target>, std::less<>> targets_;
  std::map<event_log::TopicPartition, std::shared_ptr<Partition>> partitions_;
  RetrySchedule<DeliveryPtr> retries_;
  Results results_;
  bool commit_in_flight_ = false;
  std::optional<MonotonicTime> changed_at_;  // of the first thing not yet committed
  struct Drop {
    std::vector<std::shared_ptr<Partition>> partitions;
    MonotonicTime deadline;
  };
  std::optional<Drop> drop_;
  MonotonicTime gauges_at_{};
};

}  // namespace millrace::router
