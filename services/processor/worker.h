#pragma once

#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>

#include "libs/base/string_map.h"
#include "services/processor/dedup_stage.h"
#include "services/processor/event_metrics.h"
#include "services/processor/gateway_numbers.h"
#include "services/processor/missing_topics.h"
#include "services/processor/normalise_stage.h"
#include "services/processor/outputs.h"
#include "services/processor/pace.h"
#include "services/processor/parts.h"
#include "services/processor/planner.h"
#include "services/processor/processor.h"
#include "services/processor/reports.h"
#include "services/processor/state_stage.h"
#include "services/processor/transform_stage.h"

namespace millrace::processor {

/// One thread with its consumer, its transaction and its partitions' dedup stores. Owned by the
/// processor, which calls Start, RequestStop and Join.
class Worker final : public event_log::RebalanceListener {
 public:
  struct Options {
    std::string name;  // unique in the log; the transaction's id
    DedupStage::Options dedup;
    StateStage::Options state;
    TransformReports::Options reports;
    event_log::PollLimits limits;
    size_t max_transaction_bytes = 32 << 20;  // of its records, but for one event's alone
  };
  Worker(Options options, const Deps& deps, Planner& planner);
  ~Worker() override;

  void Start();
  /// Ends the wait for records; what is under way is finished.
  void RequestStop() { thread_.request_stop(); }
  void Join();

  void OnAssigned(std::span<const event_log::CommittedOffset> partitions) override;
  void OnRevoked(std::span<const event_log::TopicPartition> partitions) override;

 private:
  /// Of a partition of `ingest`.
  struct Position {
    int64_t offset = -1;
    GatewayNumbers numbers;
  };

  void Run(std::stop_token stop);
  Status Round(const std::stop_token& stop);
  Status Connect();
  Status Process(const event_log::RecordBatch& records, const std::stop_token& stop);
  StatusOr<bool> ProcessPart(const event_log::RecordBatch& records, Part part,
                             const FanOut& fan_out, EventBatch& batch);
  Status Transform(const FanOut& fan_out, EventBatch& batch, Outputs& outputs);
  Status AddChangelogs(Outputs& outputs);
  StatusOr<transformation::StateScope*> StateOf(int32_t partition);
  void ReadEvents(const event_log::RecordBatch& records, Part part, EventBatch& batch);
  std::map<event_log::TopicPartition, Position> PositionsAfter(
      const event_log::RecordBatch& records, Part part, const EventBatch& batch);
  Status Commit(std::map<event_log::TopicPartition, Position> next, const Outputs& outputs);
  void Adopt(std::map<event_log::TopicPartition, Position> next);
  Status Idle();
  Status FlushReports();
  Status Fill(const Outputs& outputs, std::span<const event_log::CommittedOffset> offsets);
  void Disconnect();
  Status Rewind();
  StatusOr<std::shared_ptr<const FanOut>> CurrentFanOut();
  StatusOr<std::shared_ptr<const FanOut>> FanOutOf(EventBatch& batch);

  const Options options_;
  const Deps& deps_;
  Planner& planner_;
  NormaliseStage normalise_;
  DedupStage dedup_;
  StateStage state_;
  TransformReports reports_;
  TransformStage transform_;
  EventMetrics metrics_;
  MissingTopics missing_;
  BatchPace pace_;
  std::string workspace_id_;                // of the batch under way
  std::shared_ptr<const FanOut> prepared_;  // whose dedup windows are in force
  std::unique_ptr<event_log::Consumer> consumer_;
  std::unique_ptr<event_log::Transaction> transaction_;
  std::map<event_log::TopicPartition, Position> committed_;  // where to go back to
  Status assignment_error_;
  bool must_reconnect_ = false;  // what this worker holds may differ from what is committed
  std::jthread thread_;
};

}  // namespace millrace::processor
