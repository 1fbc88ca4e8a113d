#include "libs/script/worker_pool.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <deque>
#include <future>
#include <string>
#include <thread>

#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/script/answer_box.h"
#include "libs/script/limits_of_calls.h"
#include "libs/script/worker_link.h"

namespace millrace::script {
namespace {

using wire::Type;
constexpr std::chrono::milliseconds kMaxRestartDelay{1'000};
// A worker takes this many jobs at once, a further one only while all calls of the others wait for
// their hosts.
constexpr size_t kMaxJobsOfWorker = 32;
constexpr int kMaxLosses = 2;
constexpr std::string_view kStopping = "the script pool is stopping";

SteadyTime Now() {
  return std::chrono::steady_clock::now();
}

class Pool final : public WorkerPool {
 public:
  explicit Pool(const ScriptSettings& settings)
      : settings_(settings), workers_(static_cast<size_t>(std::max(settings.workers, 1))) {}

  ~Pool() override {
    {
      MutexLock lock(mu_);
      stopping_ = true;
    }
    box_->Wake();
    if (thread_.joinable()) thread_.join();
  }

  Status Begin() {
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

  using WorkerPool::Call;
  void Call(std::shared_ptr<const Module> module, std::vector<CallInput> inputs,
            CallOptions options, CallDone done) override {
    auto job = std::make_unique<Job>();
    job->options = std::move(options);
    job->module = std::move(module);
    job->inputs = std::move(inputs);
    job->done = std::move(done);
    Submit(std::move(job));
  }

  Status Load(std::shared_ptr<const Module> module) override {
    std::promise<Status> promise;
    std::future<Status> future = promise.get_future();
    auto job = std::make_unique<Job>();
    job->module = std::move(module);
    job->loaded = [&promise](Status status) { promise.set_value(std::move(status)); };
    Submit(std::move(job));
    return future.get();
  }

  StatusOr<Inspection> Inspect(const std::string& name, const std::string& source,
                               SourceFault* fault) override {
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

  PoolStats stats() const override { return {.workers_lost = workers_lost_, .calls = calls_}; }

 private:
  void Submit(std::unique_ptr<Job> job) {
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

  /// Moves what was submitted to the queue; false once the pool is to stop.
  bool TakeSubmitted() {
    MutexLock lock(mu_);
    for (auto& job : submitted_) {
      if (++last_job_ == 0) ++last_job_;
      job->id = last_job_;
      queue_.push_back(std::move(job));
    }
    submitted_.clear();
    return !stopping_;
  }

  void Run() {
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

  void Serve(WorkerLink& worker, short events) {
    if (!worker.running()) return;
    if ((events & POLLOUT) != 0 && !worker.Push()) return Lose(worker, "died");
    if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) {
      const bool sane = worker.Receive(
          [&](Type type, std::string_view payload) { return Handle(worker, type, payload); });
      if (!sane && worker.running()) Lose(worker, "died");
    }
    if (worker.running() && Now() >= worker.deadline) Lose(worker, "hung");
  }

  int PollTimeout() const {
    SteadyTime first = kNever;
    for (const WorkerLink& worker : workers_) {
      first = std::min(first, worker.running() ? worker.deadline : worker.start_at);
    }
    if (first == kNever) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(first - Now()).count();
    return static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
  }

  void StartWorkers() {
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

  static void Delay(WorkerLink& worker) {
    worker.start_at = Now() + worker.restart_delay;
    worker.restart_delay =
        std::min(kMaxRestartDelay, worker.restart_delay * 2 + std::chrono::milliseconds(20));
  }

  void GiveWork() {
    while (!queue_.empty()) {
      WorkerLink* best = nullptr;
      for (WorkerLink& worker : workers_) {
        if (!worker.ready || worker.jobs.size() >= kMaxJobsOfWorker) continue;
        if (!worker.jobs.empty() && !worker.waits()) continue;
        if (best == nullptr || worker.jobs.size() < best->jobs.size()) best = &worker;
      }
      if (best == nullptr) return;
      Job& job = *best->jobs.emplace_back(std::move(queue_.front()));
      queue_.pop_front();
      SendNext(*best, job);
    }
  }

  /// Sends the module, if the worker lacks it, or else what there is to do.
  void SendNext(WorkerLink& worker, Job& job) {
    if (job.inspection()) {
      worker.SendInspect(job);
    } else if (const uint32_t module = worker.FindModule(job.module); module == 0) {
      worker.SendLoad(job, settings_.max_modules);
    } else if (job.complete()) {
      worker.TakeJob(&job)->Finish();
      return;
    } else {
      calls_ += job.inputs.size() - job.ended_count;
      worker.SendCalls(job, module);
    }
    SetDeadline(worker);
    if (!worker.Push()) Lose(worker, "died");
  }

  /// How long the worker may be silent from now on.
  void SetDeadline(WorkerLink& worker) {
    worker.deadline = kNever;
    if (worker.waits() || worker.blocked_on != 0) return;
    std::chrono::milliseconds longest{Limits().cpu_time};
    for (const auto& job : worker.jobs) {
      if (!job->inspection()) longest = std::max(longest, job->module->limits.cpu_time);
    }
    worker.deadline = Now() + longest + settings_.hang_grace;
  }

  void SendAnswers() {
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

  /// Replaces a worker that died or hangs and decides what becomes of its jobs: the call that ran
  /// is at fault, the others run again.
  void Lose(WorkerLink& worker, std::string_view how) {
    EndWorkerProcess(&worker.process);
    const uint32_t marked_job = worker.process.mark->job;
    const uint32_t marked_input = worker.process.mark->input;
    UnmapMark(&worker.process);
    ++workers_lost_;
    std::vector<std::unique_ptr<Job>> jobs = std::move(worker.jobs);
    const Job* loading = worker.loading != nullptr ? worker.loading : worker.inspecting;
    const auto delay = worker.restart_delay;
    worker = WorkerLink();
    worker.restart_delay = delay;
    Delay(worker);
    const bool known = std::any_of(jobs.begin(), jobs.end(), [&](const auto& job) {
      return job.get() == loading || (job->id == marked_job && marked_input < job->inputs.size() &&
                                      !job->ended[marked_input]);
    });
    for (auto next = jobs.rbegin(); next != jobs.rend(); ++next) {
      std::unique_ptr<Job> job = std::move(*next);
      const std::string& name = job->inspection() ? job->name : job->module->id;
      job->Rewind();
      if (job.get() == loading) {
        log::Warning("A script worker {} while it loaded '{}'", how, name);
        job->FailRest(Outcome::kEngineFault, ErrorClass::kEngine,
                      fmt::format("the script worker {} while it loaded the script", how));
        continue;
      }
      if (known && job->id == marked_job) {
        log::Warning("A script worker {} while it ran '{}' version '{}'", how, name,
                     job->module->version);
        job->End(marked_input, {.outcome = Outcome::kEngineFault,
                                .error = fmt::format("the script worker {} on this event", how),
                                .error_class = ErrorClass::kEngine});
      } else if (!known && ++job->losses > kMaxLosses) {
        job->FailRest(Outcome::kEngineFault, ErrorClass::kEngine,
                      fmt::format("the script worker {}, again and again", how));
        continue;
      }
      if (job->complete() && !job->loaded && !job->inspected) {
        job->Finish();
      } else {
        queue_.push_front(std::move(job));
      }
    }
  }

  /// False when the frame makes no sense; workers run hostile code and are not believed.
  bool Handle(WorkerLink& worker, Type type, std::string_view payload) {
    wire::Reader reader(payload);
    switch (type) {
      case Type::kHello:
        if (worker.ready) return false;
        worker.ready = true;
        worker.deadline = kNever;
        if (!std::exchange(any_ready_, true)) first_ready_.set_value();
        return true;
      case Type::kWaiting: {
        const auto handled = reader.Get<uint64_t>();
        if (handled > worker.frames_sent || handled < worker.frames_handled) return false;
        worker.frames_handled = handled;
        SetDeadline(worker);
        return reader.ok();
      }
      case Type::kLoaded:
        return worker.loading != nullptr && HandleLoaded(worker, reader);
      case Type::kInspected:
        return worker.inspecting != nullptr && HandleInspected(worker, reader);
      case Type::kResults:
        return HandleResult(worker, reader);
      case Type::kAsk:
        return HandleAsk(worker, reader);
      default:
        return false;
    }
  }

  bool HandleLoaded(WorkerLink& worker, wire::Reader& reader) {
    const bool loaded = reader.Get<uint8_t>() != 0;
    const std::string message(reader.GetText());
    if (!reader.ok()) return false;
    Job& job = *worker.loading;
    worker.loading = nullptr;
    if (!loaded) {
      worker.TakeJob(&job)->FailRest(Outcome::kError, ErrorClass::kThrown, message);
      return true;
    }
    worker.modules.emplace_front(job.module, worker.next_module++);
    SendNext(worker, job);
    return worker.running();
  }

  bool HandleInspected(WorkerLink& worker, wire::Reader& reader) {
    const bool compiles = reader.Get<uint8_t>() != 0;
    const std::string message(reader.GetText());
    SourceFault fault{.message = std::string(reader.GetText())};
    fault.line = reader.Get<int32_t>();
    fault.column = reader.Get<int32_t>();
    Inspection inspection;
    for (auto* names : {&inspection.imports, &inspection.exports}) {
      for (auto left = reader.Get<uint32_t>(); left > 0 && reader.ok(); --left) {
        names->emplace_back(reader.GetText());
      }
    }
    if (!reader.ok()) return false;
    const std::unique_ptr<Job> job = worker.TakeJob(worker.inspecting);
    auto report = std::exchange(job->inspected, nullptr);
    if (compiles) {
      report(std::move(inspection), {});
    } else {
      report(MakeStatus(StatusCode::kInvalidArgument, message), std::move(fault));
    }
    return true;
  }

  bool HandleResult(WorkerLink& worker, wire::Reader& reader) {
    Job* job = worker.FindJob(reader.Get<uint32_t>());
    const auto input = reader.Get<uint32_t>();
    if (job == nullptr || job == worker.loading || input >= job->ended.size() || job->ended[input])
      return false;
    CallOutput output;
    if (!ReadResult(reader, &output)) return false;
    job->End(input, std::move(output));
    worker.restart_delay = std::chrono::milliseconds(0);
    SetDeadline(worker);
    if (job->complete()) worker.TakeJob(job)->Finish();
    return true;
  }

  bool HandleAsk(WorkerLink& worker, wire::Reader& reader) {
    const bool now = reader.Get<uint8_t>() != 0;
    const auto request = reader.Get<uint32_t>();
    Job* job = worker.FindJob(reader.Get<uint32_t>());
    HostCall call{.input = reader.Get<uint32_t>()};
    call.name = reader.GetText();
    call.arguments = reader.GetText();
    if (!reader.ok() || job == nullptr || job == worker.loading || request == 0 ||
        call.input >= job->ended.size() || job->ended[call.input] ||
        call.name.size() > kMaxQuestionName || call.arguments.size() > kMaxQuestionBytes ||
        job->asking[call.input] >= kMaxQuestionsOfCall || worker.blocked_on != 0 ||
        job->requests.size() >= kMaxQuestionsOfWorker ||
        !job->requests.emplace(request, call.input).second) {
      return false;
    }
    ++job->asking[call.input];
    job->asked[call.input] = true;
    if (now) worker.blocked_on = request;
    SetDeadline(worker);
    auto done = [box = box_, incarnation = worker.incarnation, request](HostAnswer answer) {
      box->Put({.incarnation = incarnation, .request = request, .answer = std::move(answer)});
    };
    if (job->options.host == nullptr) {
      done({.failed = true, .text = "there is no host to ask"});
    } else {
      job->options.host->Ask(std::move(call), std::move(done));
    }
    return true;
  }

  const ScriptSettings settings_;
  const std::shared_ptr<AnswerBox> box_ = std::make_shared<AnswerBox>();
  Mutex mu_;
  std::vector<std::unique_ptr<Job>> submitted_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // The pool thread's.
  std::vector<WorkerLink> workers_;
  std::deque<std::unique_ptr<Job>> queue_;
  std::promise<void> first_ready_;
  bool any_ready_ = false;
  uint32_t last_job_ = 0;
  uint64_t incarnations_ = 0;

  std::atomic<uint64_t> workers_lost_{0};
  std::atomic<uint64_t> calls_{0};
  std::thread thread_;
};

}  // namespace

StatusOr<std::unique_ptr<WorkerPool>> WorkerPool::Start(const ScriptSettings& settings) {
  auto pool = std::make_unique<Pool>(settings);
  MR_RETURN_IF_ERROR(pool->Begin());
  return StatusOr<std::unique_ptr<WorkerPool>>(std::move(pool));
}

}  // namespace millrace::script
