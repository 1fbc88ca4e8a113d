#include "libs/script/worker_pool.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <string>

#include "libs/script/limits_of_calls.h"
#include "libs/script/pool.h"

namespace millrace::script {
namespace {

using wire::Type;
// A worker takes this many jobs at once, a further one only while all calls of the others wait for
// their hosts.
constexpr size_t kMaxJobsOfWorker = 32;
constexpr std::string_view kStopping = "the script pool is stopping";

SteadyTime Now() {
  return std::chrono::steady_clock::now();
}

}  // namespace

Pool::Pool(const ScriptSettings& settings)
    : settings_(settings), workers_(static_cast<size_t>(std::max(settings.workers, 1))) {}

Pool::~Pool() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  box_->Wake();
  if (thread_.joinable()) thread_.join();
}

Status Pool::Begin() {
  if (box_->wake_fd() < 0) {
    return MakeStatus(StatusCode::kResourceExhausted, "script pool: no eventfd");
  }
  std::future<void> ready = first_ready_.get_future();
  thread_ = std::thread([this] { Run(); });
  if (ready.wait_for(settings_.start_timeout) != std::future_status::ready) {
    return MakeStatus(
        StatusCode::kFailedPrecondition,
        "script workers do not start: main must call script::MaybeRunWorker first, and "
        "/proc must be mounted");
  }
  return OkStatus();
}

void Pool::Call(std::shared_ptr<const Module> module, std::vector<CallInput> inputs,
                CallOptions options, CallDone done) {
  auto job = std::make_unique<Job>();
  job->options = std::move(options);
  job->module = std::move(module);
  job->inputs = std::move(inputs);
  job->done = std::move(done);
  Submit(std::move(job));
}

Status Pool::Load(std::shared_ptr<const Module> module) {
  std::promise<Status> promise;
  std::future<Status> future = promise.get_future();
  auto job = std::make_unique<Job>();
  job->module = std::move(module);
  job->loaded = [&promise](Status status) { promise.set_value(std::move(status)); };
  Submit(std::move(job));
  return future.get();
}

StatusOr<Inspection> Pool::Inspect(const std::string& name, const std::string& source,
                                   SourceFault* fault) {
  std::promise<StatusOr<Inspection>> promise;
  std::future<StatusOr<Inspection>> future = promise.get_future();
  auto job = std::make_unique<Job>();
  job->name = name;
  job->source = source;
  job->inspected = [&promise, fault](StatusOr<Inspection> inspection, SourceFault found) {
    if (fault != nullptr) *fault = std::move(found);
    promise.set_value(std::move(inspection));
  };
  Submit(std::move(job));
  return future.get();
}

void Pool::Submit(std::unique_ptr<Job> job) {
  job->Prepare();
  bool refused = false;
  bool wake = false;
  {
    MutexLock lock(mu_);
    refused = stopping_;
    if (!refused) {
      wake = submitted_.empty();
      submitted_.push_back(std::move(job));
    }
  }
  if (wake) box_->Wake();
  if (refused) job->FailRest(Outcome::kEngineFault, ErrorClass::kEngine, kStopping);
}

bool Pool::TakeSubmitted() {
  MutexLock lock(mu_);
  for (auto& job : submitted_) {
    if (++last_job_ == 0) ++last_job_;
    job->id = last_job_;
    queue_.push_back(std::move(job));
  }
  submitted_.clear();
  return !stopping_;
}

void Pool::Run() {
  std::vector<pollfd> polled;
  while (TakeSubmitted()) {
    StartWorkers();
    SendAnswers();
    GiveWork();
    polled.assign(1, {.fd = box_->wake_fd(), .events = POLLIN});
    for (const WorkerLink& worker : workers_) {
      const bool pending = worker.out_done < worker.out.size();
      polled.push_back({.fd = worker.process.fd,  // negative: ignored
                        .events = static_cast<short>(POLLIN | (pending ? POLLOUT : 0))});
    }
    poll(polled.data(), polled.size(), PollTimeout());
    if (polled[0].revents != 0) {
      uint64_t count = 0;
      if (read(box_->wake_fd(), &count, sizeof(count)) < 0) continue;
    }
    for (size_t i = 0; i < workers_.size(); ++i) Serve(workers_[i], polled[i + 1].revents);
  }
  for (WorkerLink& worker : workers_) {
    EndWorkerProcess(&worker.process);
    UnmapMark(&worker.process);
    for (auto& job : worker.jobs) queue_.push_back(std::move(job));
    worker.jobs.clear();
  }
  for (auto& job : queue_) job->FailRest(Outcome::kEngineFault, ErrorClass::kEngine, kStopping);
}

void Pool::Serve(WorkerLink& worker, short events) {
  if (!worker.running()) return;
  if ((events & POLLOUT) != 0 && !worker.Push()) return Lose(worker, "died");
  if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) {
    const bool sane = worker.Receive(
        [&](Type type, std::string_view payload) { return Handle(worker, type, payload); });
    if (!sane && worker.running()) Lose(worker, "died");
  }
  if (worker.running() && Now() >= worker.deadline) Lose(worker, "hung");
}

int Pool::PollTimeout() const {
  SteadyTime first = kNever;
  for (const WorkerLink& worker : workers_) {
    first = std::min(first, worker.running() ? worker.deadline : worker.start_at);
  }
  for (const auto& [module, punishment] : punished_) {
    if (punishment.until > Now()) first = std::min(first, punishment.until);
  }
  if (first == kNever) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(first - Now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
}

WorkerLink* Pool::FindWorker() {
  WorkerLink* best = nullptr;
  for (WorkerLink& worker : workers_) {
    if (!worker.ready || worker.jobs.size() >= kMaxJobsOfWorker) continue;
    if (!worker.jobs.empty() && !worker.waits()) continue;
    if (best == nullptr || worker.jobs.size() < best->jobs.size()) best = &worker;
  }
  return best;
}

void Pool::GiveWork() {
  std::erase_if(punished_, [now = Now()](const auto& entry) { return now >= entry.second.forget; });
  for (auto next = queue_.begin(); next != queue_.end();) {
    if (HasToWait(**next)) {
      ++next;
      continue;
    }
    WorkerLink* worker = FindWorker();
    if (worker == nullptr) return;
    Job& job = *worker->jobs.emplace_back(std::move(*next));
    next = queue_.erase(next);
    if (!SendNext(*worker, job)) return;  // the queue has changed
  }
}

bool Pool::SendNext(WorkerLink& worker, Job& job) {
  if (job.inspection()) {
    worker.SendInspect(job);
  } else if (const uint32_t module = worker.FindModule(job.module); module == 0) {
    worker.SendLoad(job, settings_.max_modules);
  } else if (job.complete()) {
    worker.TakeJob(&job)->Finish();
    return true;
  } else {
    calls_ += job.inputs.size() - job.ended_count;
    worker.SendCalls(job, module);
  }
  SetDeadline(worker);
  if (worker.Push()) return true;
  Lose(worker, "died");
  return false;
}

void Pool::SetDeadline(WorkerLink& worker) {
  worker.deadline = kNever;
  if (worker.waits() || worker.blocked_on != 0) return;
  std::chrono::milliseconds longest{Limits().cpu_time};
  for (const auto& job : worker.jobs) {
    if (!job->inspection()) longest = std::max(longest, job->module->limits.cpu_time);
  }
  worker.deadline = Now() + longest + settings_.hang_grace;
}

void Pool::SendAnswers() {
  for (AnswerBox::Answer& answer : box_->Take()) {
    for (WorkerLink& worker : workers_) {
      if (!worker.running() || worker.incarnation != answer.incarnation) continue;
      for (const auto& job : worker.jobs) {
        const auto asked = job->requests.find(answer.request);
        if (asked == job->requests.end()) continue;
        --job->asking[asked->second];
        job->requests.erase(asked);
        if (answer.answer.text.size() + answer.answer.error_name.size() > kMaxAnswerBytes) {
          answer.answer = {.failed = true, .text = "the answer is too large"};
        }
        worker.SendAnswer(answer.request, answer.answer);
        SetDeadline(worker);
        break;
      }
      if (!worker.Push()) Lose(worker, "died");
      break;
    }
  }
}

StatusOr<std::unique_ptr<WorkerPool>> WorkerPool::Start(const ScriptSettings& settings) {
  auto pool = std::make_unique<Pool>(settings);
  MR_RETURN_IF_ERROR(pool->Begin());
  return StatusOr<std::unique_ptr<WorkerPool>>(std::move(pool));
}

}  // namespace millrace::script
