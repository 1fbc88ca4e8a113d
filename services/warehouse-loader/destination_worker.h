#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/event_log/event_log.h"
#include "libs/warehouse/batch.h"
#include "libs/warehouse/rows.h"
#include "libs/warehouse/session.h"
#include "millrace/config/v1/workspace.pb.h"
#include "services/warehouse-loader/destination_config.h"
#include "services/warehouse-loader/outcomes.h"
#include "services/warehouse-loader/warehouse_loader.h"

namespace millrace::warehouse_loader {

/// Loads one destination on a thread of its own, from construction to destruction.
///
/// The warehouse's positions decide where reading begins. Records that were read stay in memory
/// until their load is committed, so that their rows can be made anew when the schema turns out
/// another.
class DestinationWorker final : public event_log::RebalanceListener {
 public:
  DestinationWorker(const Deps& deps, const settings::v1::WarehouseLoaderSettings& settings,
                    const warehouse::Warehouse& warehouse, config::v1::Destination destination,
                    DestinationConfig config, std::function<void()> on_end = {});
  ~DestinationWorker() override;
  DestinationWorker(const DestinationWorker&) = delete;
  DestinationWorker& operator=(const DestinationWorker&) = delete;

  /// The thread ends soon; `flush`: after one try to load what has been read. Any thread.
  void AskToStop(bool flush);
  /// What the thread waits for in the warehouse fails. After AskToStop; any thread.
  void Cancel() { cancel_.request_stop(); }
  /// The thread has ended: destruction does not wait. Any thread.
  bool ended() const { return ended_; }

  void OnAssigned(std::span<const event_log::CommittedOffset> partitions) override;
  void OnRevoked(std::span<const event_log::TopicPartition> partitions) override;

 private:
  struct PartitionState {
    int64_t committed = -1;  // the group's offset, when it was assigned
    int64_t loaded = -1;     // next offset as the warehouse has it; -1: none
    int64_t next = -1;       // after the last record in pending_
    int64_t events = 0;      // in pending_
    bool placed = false;     // reading begins where the warehouse says
  };
  struct Pending {
    event_log::TopicPartition partition;
    event_log::ConsumedRecord record;
  };

  void Run();
  /// One round; not OK: wait, then go on.
  Status Step();
  Status OpenConsumer();
  Status OpenSession();
  Status Place();
  Status Republish(const warehouse::Position& position);
  Status Read();
  void Take(const event_log::RecordBatch& records);
  void AddRecord(const Pending& pending);
  void NewBatch();
  bool Due() const;
  std::chrono::milliseconds UntilDue() const;
  Status WriteLoad();
  /// After a connection was lost within a load: whether the warehouse has it.
  Status Settle();
  Status Loaded(size_t refused_rows);
  std::vector<warehouse::PositionChange> Positions() const;
  void DropPending();
  Status Append(const std::vector<OwnedRecord>& records);
  /// Waits as a member of the group that reads nothing.
  void WaitPaused(std::chrono::milliseconds wait);
  const config::v1::Source* FindSource(const std::string& id);

  const Deps& deps_;
  const settings::v1::WarehouseLoaderSettings& settings_;
  const warehouse::Warehouse& warehouse_;
  const config::v1::Destination destination_;
  const DestinationConfig config_;
  const std::string topic_;

  std::unique_ptr<event_log::Appender> appender_;
  std::unique_ptr<event_log::Consumer> consumer_;
  std::unique_ptr<warehouse::Session> session_;
  warehouse::Schema schema_;
  bool schema_known_ = false;
  warehouse::RowBuilder builder_;

  std::map<event_log::TopicPartition, PartitionState> partitions_;
  std::vector<std::shared_ptr<const void>> owners_;  // keep the views of pending_ alive
  std::vector<Pending> pending_;
  size_t pending_bytes_ = 0;
  MonotonicTime first_read_;
  std::unique_ptr<warehouse::Batch> batch_;
  Outcomes outcomes_;
  bool finished_ = false;   // batch_ is complete: a load of it is being tried
  bool unsettled_ = false;  // a load of it may have been committed
  int schema_rounds_ = 0;   // times this load met another schema
  uint32_t failures_ = 0;   // in a row

  config::WorkspacePtr workspace_;
  std::map<std::string, const config::v1::Source*> sources_;

  telemetry::Counter& loads_;
  telemetry::Counter& rows_;
  telemetry::Counter& discards_;
  telemetry::Counter& load_failures_;
  telemetry::Histogram& latency_;

  const std::function<void()> on_end_;  // called by the thread, last
  std::stop_source cancel_;
  std::atomic<bool> ended_{false};
  bool topic_missing_ = false;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> flush_{false};
  Mutex mu_;
  event_log::Consumer* wakeable_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::condition_variable stopped_;
  std::thread thread_;
};

}  // namespace millrace::warehouse_loader
