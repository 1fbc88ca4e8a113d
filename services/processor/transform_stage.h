#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "services/processor/chain.h"
#include "services/processor/event_batch.h"
#include "services/processor/fan_out.h"
#include "services/processor/run_jobs.h"

namespace millrace::processor {

/// Events that pass through one chain.
struct ChainRun {
  const BoundChain* chain = nullptr;
  std::vector<Event>
      events;  // in the order of the log; the chain's results stand in the place of each
};

/// Told of what the transformations did; the stage's worker calls it.
class TransformObserver {
 public:
  virtual ~TransformObserver() = default;
  /// Before the jobs run. `jobs[i]` is of `steps[i]`.
  virtual void Begin(const std::vector<TransformJob>& jobs,
                     const std::vector<const ChainStep*>& steps) = 0;
  /// When all have.
  virtual void End(const std::vector<TransformJob>& jobs,
                   const std::vector<const ChainStep*>& steps) = 0;
};

/// Runs users' transformations over the events of a batch: step by step, each step over all events
/// that come to it. Owned by a worker; one thread.
///
/// Of each event it makes what the step gave: the event changed, further ones behind it (`extra`),
/// none (kDropped), or a dead letter that holds the event as it came to the step. Ids of what one
/// event became are distinct; see docs/decisions/2026-11-25-message-ids-of-transformed-events.md.
class TransformStage {
 public:
  /// The state of `store` for events of this partition.
  using StateOf = std::function<StatusOr<transformation::StateScope*>(int32_t partition)>;

  TransformStage(Clock& clock, StateOf state_of, TransformObserver* observer)
      : clock_(clock), state_of_(std::move(state_of)), observer_(observer) {}

  /// The chains of the sources. A non-OK status: the state is not to be had; nothing is decided.
  Status RunSources(const FanOut& fan_out, EventBatch& batch);
  /// Chains behind fan-out.
  Status Run(std::vector<ChainRun>& runs);

 private:
  struct Asked;
  Status RunStep(std::vector<ChainRun>& runs, size_t step);
  Status AddJobs(ChainRun& run, size_t run_index, size_t step, std::vector<Asked>& asked,
                 std::vector<TransformJob>& jobs, std::vector<const ChainStep*>& steps);

  Clock& clock_;
  const StateOf state_of_;
  TransformObserver* const observer_;
};

}  // namespace millrace::processor
