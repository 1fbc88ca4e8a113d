#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/config/config_source.h"
#include "libs/event_log/event_log.h"
#include "libs/pipeline/topology.h"
#include "libs/telemetry/metrics.h"
#include "libs/transformation/transformer.h"
#include "millrace/settings/v1/processor.pb.h"
#include "millrace/settings/v1/transformation.pb.h"
#include "services/processor/fan_out.h"

namespace millrace::processor {

struct Deps {
  event_log::EventLog& log;
  Clock& clock;
  telemetry::Metrics& metrics;
  config::ConfigSource& workspace;
  DestinationTypes types;
  int ingest_partitions = 4;       // of topics `ingest` and `dedup`, when they are not there yet
  int destination_partitions = 4;  // of a destination's topic, when it is not there yet
  /// Null: this processor runs no transformations; events that have some go to the dead letters.
  transformation::TransformerFactory* transformers = nullptr;
  settings::v1::TransformationSettings transformation;
};

class Planner;
class Worker;

/// Reads topic `ingest` and emits to the destinations' topics: normalises, drops duplicates,
/// transforms, fans out. What it reads, its dedup changelog, what it emits, its counts and its
/// offsets move in one transaction per batch.
///
/// Owned by main. Start and Stop are one thread's. A worker that meets an error of the world (log
/// away) goes back to the committed offsets and tries again until it is stopped.
class Processor {
 public:
  /// kInvalidArgument names the setting that is wrong.
  static StatusOr<std::unique_ptr<Processor>> Create(
      const settings::v1::ProcessorSettings& settings, Deps deps);
  ~Processor();
  Processor(const Processor&) = delete;
  Processor& operator=(const Processor&) = delete;

  Status Start();
  /// Finishes the transaction under way. The log's own time limits bound the wait; what is not
  /// committed by then is read again after the next start.
  void Stop(std::chrono::milliseconds deadline);

 private:
  explicit Processor(Deps deps);
  Status EnsureTopics();

  const Deps deps_;
  pipeline::TopologyOptions topology_;
  std::unique_ptr<Planner> planner_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace millrace::processor
