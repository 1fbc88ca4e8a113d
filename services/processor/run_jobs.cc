#include "services/processor/run_jobs.h"

#include <condition_variable>
#include <deque>
#include <map>
#include <utility>

#include "libs/base/mutex.h"

namespace millrace::processor {
namespace {

using transformation::Input;
using transformation::Output;

constexpr uint32_t kAttempts = 3;

/// What the threads that finish runs tell the one that waits.
class Finished {
 public:
  void Put(size_t job, std::vector<Output> outputs) {
    MutexLock lock(mu_);
    done_.emplace_back(job, std::move(outputs));
    wake_.notify_one();
  }
  std::pair<size_t, std::vector<Output>> Take() {
    MutexLock lock(mu_);
    while (done_.empty()) wake_.wait(lock.native());
    auto first = std::move(done_.front());
    done_.pop_front();
    return first;
  }

 private:
  Mutex mu_;
  std::condition_variable wake_;
  std::deque<std::pair<size_t, std::vector<Output>>> done_ ABSL_GUARDED_BY(mu_);
};

/// The jobs of one call of RunJobs.
class Round {
 public:
  explicit Round(std::vector<TransformJob>& jobs) : jobs_(jobs), asked_(jobs.size()) {}

  void Run() {
    for (size_t i = 0; i < jobs_.size(); ++i) {
      TransformJob& job = jobs_[i];
      job.outputs.resize(job.inputs.size());
      job.attempts.assign(job.inputs.size(), 0);
      if (job.inputs.empty()) continue;
      ++open_;
      for (size_t k = 0; k < job.inputs.size(); ++k) asked_[i].push_back(k);
      if (job.queue < 0)
        Begin(i);
      else
        queues_[job.queue].push_back(i);
    }
    for (auto& [number, queue] : queues_) Begin(queue.front());
    while (open_ > 0) {
      auto [i, outputs] = finished_->Take();
      Take(i, std::move(outputs));
    }
  }

 private:
  void Begin(size_t i) {
    TransformJob& job = jobs_[i];
    std::vector<Input> inputs;
    inputs.reserve(asked_[i].size());
    for (const size_t k : asked_[i]) {
      ++job.attempts[k];
      inputs.push_back(job.inputs[k]);
    }
    job.transformer->Run(std::move(inputs), job.context,
                         [finished = finished_, i](std::vector<Output> outputs) {
                           finished->Put(i, std::move(outputs));
                         });
  }

  void Take(size_t i, std::vector<Output> outputs) {
    TransformJob& job = jobs_[i];
    std::vector<size_t> again;
    for (size_t n = 0; n < asked_[i].size(); ++n) {
      const size_t k = asked_[i][n];
      if (n >= outputs.size()) {
        job.outputs[k].error = "the transformation gave no answer for the event";
        job.outputs[k].error_class = "engine";
        continue;
      }
      if (outputs[n].again && job.attempts[k] < kAttempts)
        again.push_back(k);
      else
        job.outputs[k] = std::move(outputs[n]);
    }
    asked_[i] = std::move(again);
    if (!asked_[i].empty()) return Begin(i);
    --open_;
    if (job.queue < 0) return;
    auto& queue = queues_[job.queue];
    queue.pop_front();
    if (!queue.empty()) Begin(queue.front());
  }

  std::vector<TransformJob>& jobs_;
  std::vector<std::vector<size_t>> asked_;  // by job: indices of the inputs of the run under way
  std::map<int, std::deque<size_t>> queues_;
  std::shared_ptr<Finished> finished_ = std::make_shared<Finished>();
  size_t open_ = 0;
};

}  // namespace

void RunJobs(std::vector<TransformJob>& jobs) {
  Round(jobs).Run();
}

}  // namespace millrace::processor
