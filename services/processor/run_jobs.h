#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "libs/transformation/transformer.h"

namespace millrace::processor {

/// One call of a transformation over many events.
struct TransformJob {
  std::shared_ptr<transformation::Transformer> transformer;
  std::vector<transformation::Input> inputs;
  transformation::RunContext context;
  int queue = -1;  // jobs of one queue run one after another, in their order; -1: at any time
  std::vector<transformation::Output> outputs;  // one an input
  std::vector<uint32_t> attempts;               // one an input
};

/// Runs all jobs, side by side where they may, and waits for them. What the engine failed on is
/// tried again, up to three times in all. A job's inputs go to its transformer part by part, so
/// that after `patience`, and when `budget` for all their outputs is used up, no more is begun; the
/// outputs of what was not run then say so (error_class "timeout"). Whether all was run.
bool RunJobs(std::vector<TransformJob>& jobs, std::chrono::milliseconds patience,
             const std::shared_ptr<ByteBudget>& budget);

}  // namespace millrace::processor
