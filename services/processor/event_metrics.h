#pragma once

#include <chrono>
#include <map>
#include <utility>
#include <vector>

#include "libs/base/string_map.h"
#include "libs/telemetry/metrics.h"
#include "millrace/config/v1/workspace.pb.h"
#include "services/processor/event_batch.h"
#include "services/processor/gateway_numbers.h"
#include "services/processor/outputs.h"

namespace millrace::processor {

/// The series of events by source and destination. Owned by a worker; one thread.
class EventMetrics {
 public:
  explicit EventMetrics(telemetry::Metrics& metrics) : metrics_(metrics) {}

  /// Notes how late the events came; counted with Committed.
  void Begin(const EventBatch& batch);
  /// What was begun has moved.
  void Committed(const Outputs& outputs, std::chrono::duration<double> took);
  /// Forgets the series of sources and destinations that are not in the workspace.
  void SetWorkspace(const config::v1::Workspace& workspace);
  void ShowLost(int32_t partition, const GatewayNumbers& numbers);
  /// Tells of records that are lost by now and were not before.
  void Lost(int32_t partition, const GatewayNumbers& before, const GatewayNumbers& now);

 private:
  telemetry::Counter& FateOf(const Outputs::CountKey& key);

  telemetry::Metrics& metrics_;
  std::vector<std::pair<telemetry::Histogram*, double>> begun_;
  StringMap<telemetry::Histogram*> delays_;  // by source
  std::map<Outputs::CountKey, telemetry::Counter*> fates_;
};

}  // namespace millrace::processor
