#include "services/processor/run_jobs.h"

#include <algorithm>
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
// A transformation that spends a second on each event must show it before a whole batch is given to
// it.
constexpr size_t kFirstPart = 32;
constexpr size_t kGrowth = 4;
constexpr std::chrono::milliseconds kQuick{200};

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
  Round(std::vector<TransformJob>& jobs, std::chrono::milliseconds patience,
        const ByteBudget& budget)
      : jobs_(jobs),
        parts_(jobs.size()),
        deadline_(SteadyClock::now() + patience),
        budget_(budget) {}

  bool Run() {
    for (size_t i = 0; i < jobs_.size(); ++i) {
      TransformJob& job = jobs_[i];
      job.outputs.resize(job.inputs.size());
      job.attempts.assign(job.inputs.size(), 0);
      if (job.inputs.empty()) continue;
      ++open_;
      for (size_t k = 0; k < job.inputs.size(); ++k) parts_[i].waiting.push_back(k);
      if (job.queue >= 0)
        queues_[job.queue].push_back(i);
      else
        Begin(i);
    }
    for (auto& [number, queue] : queues_) Begin(queue.front());
    while (open_ > 0) {
      auto [i, outputs] = finished_->Take();
      Take(i, std::move(outputs));
    }
    return in_time_;
  }

 private:
  using SteadyClock = std::chrono::steady_clock;
  struct Part {
    std::deque<size_t> waiting;  // indices of inputs
    std::vector<size_t> asked;   // of the run under way
    size_t size = kFirstPart;    // most inputs of one run
    SteadyClock::time_point began;
  };

  void Begin(size_t i) {
    TransformJob& job = jobs_[i];
    Part& part = parts_[i];
    part.asked.clear();
    part.began = SteadyClock::now();
    std::vector<Input> inputs;
    inputs.reserve(std::min(part.size, part.waiting.size()));
    while (!part.waiting.empty() && part.asked.size() < part.size) {
      const size_t k = part.waiting.front();
      part.waiting.pop_front();
      part.asked.push_back(k);
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
    Part& part = parts_[i];
    outputs.resize(part.asked.size(), {.error = "the transformation gave no answer for the event",
                                       .error_class = "engine"});
    for (size_t n = part.asked.size(); n-- > 0;) {
      const size_t k = part.asked[n];
      // In front: what waits are later events.
      if (outputs[n].again && job.attempts[k] < kAttempts)
        part.waiting.push_front(k);
      else
        job.outputs[k] = std::move(outputs[n]);
    }
    if (SteadyClock::now() - part.began < kQuick) part.size *= kGrowth;
    if (!part.waiting.empty() && MayGoOn()) return Begin(i);
    Leave(i);
    --open_;
    if (job.queue < 0) return;
    auto& queue = queues_[job.queue];
    queue.pop_front();
    for (; !queue.empty() && !MayGoOn(); queue.pop_front(), --open_) Leave(queue.front());
    if (!queue.empty()) Begin(queue.front());
  }

  bool MayGoOn() const { return SteadyClock::now() < deadline_ && !budget_.overdrawn(); }

  /// What is still waiting is not run any more.
  void Leave(size_t i) {
    for (const size_t k : parts_[i].waiting) {
      jobs_[i].outputs[k] = {
          .error = "the transformations of this event and those beside it took too long",
          .error_class = "timeout"};
      in_time_ = false;
    }
    parts_[i].waiting.clear();
  }

  std::vector<TransformJob>& jobs_;
  std::vector<Part> parts_;  // one a job
  std::map<int, std::deque<size_t>> queues_;
  std::shared_ptr<Finished> finished_ = std::make_shared<Finished>();
  const SteadyClock::time_point deadline_;
  const ByteBudget& budget_;
  size_t open_ = 0;
  bool in_time_ = true;
};

}  // namespace

bool RunJobs(std::vector<TransformJob>& jobs, std::chrono::milliseconds patience,
             const std::shared_ptr<ByteBudget>& budget) {
  for (TransformJob& job : jobs) job.context.output_budget = budget;
  return Round(jobs, patience, *budget).Run();
}

}  // namespace millrace::processor
