#pragma once

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
/// tried again, up to three times in all.
void RunJobs(std::vector<TransformJob>& jobs);

}  // namespace millrace::processor
