#include <sys/wait.h>

#include <algorithm>

#include "libs/base/log.h"
#include "libs/script/cpu_watch.h"
#include "libs/script/pool.h"

namespace millrace::script {
namespace {

constexpr std::chrono::milliseconds kMaxRestartDelay{1'000};
constexpr int kMaxLosses = 2;
// A module that kills workers again and again waits longer each time.
constexpr int kFreeLosses = 3;
constexpr std::chrono::milliseconds kLongestPunishment{250};
constexpr std::chrono::seconds kMemoryOfLosses{30};

SteadyTime Now() {
  return std::chrono::steady_clock::now();
}

}  // namespace

void Pool::StartWorkers() {
  for (WorkerLink& worker : workers_) {
    if (worker.running() || Now() < worker.start_at) continue;
    auto process = StartWorkerProcess(settings_.worker_memory_bytes);
    if (process.ok()) {
      worker.process = *process;
      worker.incarnation = ++incarnations_;
      worker.deadline = Now() + settings_.start_timeout;
    } else {
      log::Warning("{}", Message(process.status()));
      Delay(worker);
    }
  }
}

void Pool::Delay(WorkerLink& worker) {
  worker.start_at = Now() + worker.restart_delay;
  worker.restart_delay =
      std::min(kMaxRestartDelay, worker.restart_delay * 2 + std::chrono::milliseconds(20));
}

void Pool::Punish(const std::shared_ptr<const Module>& module) {
  Punishment& punishment = punished_[module];
  const int beyond = std::min(++punishment.losses - kFreeLosses, 10);
  auto wait = std::chrono::milliseconds(0);
  if (beyond > 0) wait = std::min(kLongestPunishment, std::chrono::milliseconds(10 << beyond));
  punishment.until = Now() + wait;
  punishment.forget = punishment.until + kMemoryOfLosses;
}

void Pool::Restrain(const std::shared_ptr<const Module>& module) {
  Punishment& punishment = punished_[module];
  punishment.forget = std::max(punishment.forget, Now() + kMemoryOfLosses);
}

bool Pool::HasToWait(const Job& job) const {
  if (job.inspection() || !punished_.contains(job.module)) return false;
  if (IsPunished(job.module)) return true;
  if (workers_.size() == 1) return false;
  const auto left = std::count_if(workers_.begin(), workers_.end(), [&](const WorkerLink& worker) {
    return worker.ready &&
           std::none_of(worker.jobs.begin(), worker.jobs.end(),
                        [&](const auto& other) { return punished_.contains(other->module); });
  });
  return left <= 1;  // for the others
}

bool Pool::IsPunished(const std::shared_ptr<const Module>& module) const {
  const auto found = punished_.find(module);
  return found != punished_.end() && Now() < found->second.until;
}

void Pool::Lose(WorkerLink& worker, std::string_view how) {
  const int status = EndWorkerProcess(&worker.process);
  const uint32_t marked_job = worker.process.mark->job;
  const uint32_t marked_input = worker.process.mark->input;
  UnmapMark(&worker.process);
  ++workers_lost_;
  const bool too_long = WIFEXITED(status) && WEXITSTATUS(status) == kCpuExitCode;
  Fault fault{.how = std::string(how)};
  if (too_long) fault = {Outcome::kError, ErrorClass::kTimeout, "was stopped"};
  if (how == "hung") fault.error_class = ErrorClass::kTimeout;
  std::vector<std::unique_ptr<Job>> jobs = std::move(worker.jobs);
  const Job* loading = worker.loading != nullptr ? worker.loading : worker.inspecting;
  const auto is_marked = [&](const Job& job) {
    return loading == nullptr && job.id == marked_job && marked_input < job.inputs.size() &&
           !job.ended[marked_input];
  };
  const bool known = std::any_of(jobs.begin(), jobs.end(), [&](const auto& job) {
    return job.get() == loading || is_marked(*job);
  });
  const auto delay = worker.restart_delay;
  worker = WorkerLink();
  worker.restart_delay = delay;
  if (!known) Delay(worker);  // whose fault it was is told below
  for (auto next = jobs.rbegin(); next != jobs.rend(); ++next) {
    std::unique_ptr<Job> job = std::move(*next);
    const bool loads = job.get() == loading;
    const bool guilty = loads || (known && is_marked(*job));
    job->Rewind();
    if (guilty) {
      const std::string& name = job->inspection() ? job->name : job->module->id;
      log::Warning("A script worker {} while it {} '{}'", fault.how, loads ? "loaded" : "ran",
                   name);
      if (!job->inspection()) Punish(job->module);
      const auto limit = job->inspection() ? Limits().cpu_time : job->module->limits.cpu_time;
      const std::string message =
          too_long ? fmt::format(
                         "the script ran longer than its limit of {} ms of processor time, in "
                         "one native function",
                         limit.count())
                   : fmt::format("the script worker {} {}", fault.how,
                                 loads ? "while it loaded the script" : "on this event");
      if (loads) {
        job->FailRest(fault.outcome, fault.error_class, message);
        continue;
      }
      job->End(marked_input,
               {.outcome = fault.outcome, .error = message, .error_class = fault.error_class});
    } else if (!known && ++job->losses > kMaxLosses) {
      job->FailRest(Outcome::kEngineFault, ErrorClass::kEngine,
                    fmt::format("the script worker {}, again and again", fault.how));
      continue;
    }
    if (job->complete() && !job->loaded && !job->inspected) {
      job->Finish();
    } else if (guilty) {
      queue_.push_back(std::move(job));
    } else {
      queue_.push_front(std::move(job));
    }
  }
}

}  // namespace millrace::script
