#include "libs/script/worker_pool.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <deque>
#include <future>
#include <list>
#include <optional>
#include <string>
#include <thread>

#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/script/host.h"
#include "libs/script/wire.h"
#include "libs/script/worker_process.h"

namespace millrace::script {
namespace {

using wire::Type;
using SteadyTime = std::chrono::steady_clock::time_point;
constexpr SteadyTime kNever = SteadyTime::max();
constexpr std::chrono::milliseconds kMaxRestartDelay{1'000};

SteadyTime Now() {
  return std::chrono::steady_clock::now();
}

/// One batch on its way. `outputs` grows from the front; [outputs.size(), sent_end) is with a
/// worker.
struct Job {
  std::shared_ptr<const Module> module;
  std::vector<CallInput> inputs;
  CallOptions options;
  CallDone done;
  std::vector<CallOutput> outputs;
  size_t sent_end = 0;
  bool single =
      false;  // a worker died with more than one call: one at a time until the culprit shows
  std::function<void(Status)> loaded;  // of a Load

  void Finish() {
    if (loaded) loaded(OkStatus());
    if (done) done(std::move(outputs));
    loaded = nullptr;
    done = nullptr;
  }
  void FailRest(Outcome outcome, std::string_view message) {
    if (loaded) {
      loaded(MakeStatus(
          outcome == Outcome::kError ? StatusCode::kInvalidArgument : StatusCode::kUnavailable,
          message));
      loaded = nullptr;
    }
    while (outputs.size() < inputs.size()) {
      outputs.push_back({.outcome = outcome, .error = std::string(message)});
    }
    Finish();
  }
};

struct Worker {
  WorkerProcess process;
  bool ready = false;
  std::unique_ptr<Job> job;
  bool loading = false;
  SteadyTime deadline = kNever;
  SteadyTime start_at = {};  // when to start it, while it does not run
  std::chrono::milliseconds restart_delay{0};
  std::string out;
  size_t out_done = 0;
  std::string in;
  size_t in_done = 0;
  std::list<std::pair<std::shared_ptr<const Module>, uint32_t>> modules;  // most used first
  uint32_t next_module = 1;

  bool running() const { return process.fd >= 0; }
};

class Pool final : public WorkerPool {
 public:
  explicit Pool(const ScriptSettings& settings)
      : settings_(settings), workers_(static_cast<size_t>(std::max(settings.workers, 1))) {}

  ~Pool() override {
    {
      MutexLock lock(mu_);
      stopping_ = true;
    }
    Wake();
    if (thread_.joinable()) thread_.join();
    if (wake_fd_ >= 0) close(wake_fd_);
  }

  Status Begin() {
    wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd_ < 0) return MakeStatus(StatusCode::kResourceExhausted, "script pool: no eventfd");
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
  void Call(std::shared_ptr<const Module> module, std::vector<CallInput> inputs, CallOptions options,
            CallDone done) override {
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

  StatusOr<Inspection> Inspect(const std::string& name, const std::string&, SourceFault*) override {
    return Error(StatusCode::kUnimplemented, "inspection of {}", name);
  }

  PoolStats stats() const override { return {.workers_lost = workers_lost_, .calls = calls_}; }

 private:
  void Submit(std::unique_ptr<Job> job) {
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
    if (wake) Wake();
    if (refused) job->FailRest(Outcome::kEngineFault, "the script pool is stopping");
  }

  void Wake() {
    const uint64_t one = 1;
    if (write(wake_fd_, &one, sizeof(one)) < 0 && errno != EAGAIN) MR_CHECK(errno == EINTR);
  }

  /// Moves what was submitted to the queue; false once the pool is to stop.
  bool TakeSubmitted() {
    MutexLock lock(mu_);
    for (auto& job : submitted_) queue_.push_back(std::move(job));
    submitted_.clear();
    return !stopping_;
  }

  void Run() {
    std::vector<pollfd> polled;
    while (TakeSubmitted()) {
      StartWorkers();
      for (Worker& worker : workers_) {
        if (worker.ready && worker.job == nullptr && !queue_.empty()) {
          worker.job = std::move(queue_.front());
          queue_.pop_front();
          SendNext(worker);
        }
      }
      polled.assign(1, {.fd = wake_fd_, .events = POLLIN});
      for (const Worker& worker : workers_) {
        const bool pending = worker.out_done < worker.out.size();
        polled.push_back({.fd = worker.process.fd,  // negative: ignored
                          .events = static_cast<short>(POLLIN | (pending ? POLLOUT : 0))});
      }
      poll(polled.data(), polled.size(), PollTimeout());
      if (polled[0].revents != 0) {
        uint64_t count = 0;
        if (read(wake_fd_, &count, sizeof(count)) < 0) continue;
      }
      for (size_t i = 0; i < workers_.size(); ++i) {
        Worker& worker = workers_[i];
        if (!worker.running()) continue;
        if ((polled[i + 1].revents & POLLOUT) != 0 && !Push(worker)) Lose(worker, "died");
        if (worker.running() && (polled[i + 1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
          Receive(worker);
        }
        if (worker.running() && Now() >= worker.deadline) Lose(worker, "hung");
      }
    }
    for (Worker& worker : workers_) {
      EndWorkerProcess(&worker.process);
      if (worker.job != nullptr) queue_.push_back(std::move(worker.job));
    }
    for (auto& job : queue_) job->FailRest(Outcome::kEngineFault, "the script pool is stopping");
  }

  int PollTimeout() const {
    SteadyTime first = kNever;
    for (const Worker& worker : workers_) {
      first = std::min(first, worker.running() ? worker.deadline : worker.start_at);
    }
    if (first == kNever) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(first - Now()).count();
    return static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
  }

  void StartWorkers() {
    for (Worker& worker : workers_) {
      if (worker.running() || Now() < worker.start_at) continue;
      auto process = StartWorkerProcess(settings_.worker_memory_bytes);
      if (process.ok()) {
        worker.process = *process;
        worker.deadline = Now() + settings_.start_timeout;
      } else {
        log::Warning("{}", Message(process.status()));
        Delay(worker);
      }
    }
  }

  static void Delay(Worker& worker) {
    worker.start_at = Now() + worker.restart_delay;
    worker.restart_delay =
        std::min(kMaxRestartDelay, worker.restart_delay * 2 + std::chrono::milliseconds(20));
  }

  /// Replaces a worker that died or hangs and decides what becomes of its job.
  void Lose(Worker& worker, std::string_view how) {
    EndWorkerProcess(&worker.process);
    ++workers_lost_;
    std::unique_ptr<Job> job = std::move(worker.job);
    const bool loading = worker.loading;
    const auto delay = worker.restart_delay;
    worker = Worker();
    worker.restart_delay = delay;
    Delay(worker);
    if (job == nullptr) return;
    log::Warning("A script worker {} while it ran '{}' version '{}'", how, job->module->id,
                 job->module->version);
    if (loading) {
      job->FailRest(Outcome::kEngineFault,
                    fmt::format("the script worker {} while it loaded the script", how));
      return;
    }
    if (job->sent_end - job->outputs.size() == 1) {
      job->outputs.push_back({.outcome = Outcome::kEngineFault,
                              .error = fmt::format("the script worker {} on this event", how)});
      job->single = false;
    } else {
      job->single = true;
    }
    if (job->outputs.size() == job->inputs.size()) {
      job->Finish();
    } else {
      queue_.push_front(std::move(job));
    }
  }

  /// Sends the module, if the worker lacks it, or else the next calls of the worker's job.
  void SendNext(Worker& worker) {
    Job& job = *worker.job;
    const auto found = std::find_if(worker.modules.begin(), worker.modules.end(),
                                    [&](const auto& entry) { return entry.first == job.module; });
    if (found == worker.modules.end()) {
      SendLoad(worker);
    } else if (job.outputs.size() == job.inputs.size()) {
      std::exchange(worker.job, nullptr)->Finish();
      return;
    } else {
      worker.modules.splice(worker.modules.begin(), worker.modules, found);
      SendCalls(worker, found->second);
    }
    worker.deadline = Now() + job.module->limits.cpu_time + settings_.hang_grace;
    if (!Push(worker)) Lose(worker, "died");
  }

  void SendLoad(Worker& worker) {
    std::string* out = &worker.out;
    if (worker.modules.size() >= settings_.max_modules) {
      const size_t drop = wire::BeginFrame(out, Type::kDrop);
      wire::Put<uint32_t>(out, worker.modules.back().second);
      wire::EndFrame(out, drop);
      worker.modules.pop_back();
    }
    const Module& module = *worker.job->module;
    const size_t frame = wire::BeginFrame(out, Type::kLoad);
    wire::Put<uint32_t>(out, worker.next_module);
    for (const std::string* text :
         {&module.id, &module.version, &module.source, &module.entry, &module.config_json}) {
      wire::PutText(out, *text);
    }
    wire::Put<uint64_t>(out, module.limits.memory_bytes);
    wire::Put<int64_t>(out, module.limits.cpu_time.count());
    wire::Put<uint64_t>(out, module.limits.stack_bytes);
    wire::Put<uint64_t>(out, module.limits.result_bytes);
    wire::Put<uint32_t>(out, static_cast<uint32_t>(module.libraries.size()));
    for (const auto& [name, source] : module.libraries) {
      wire::PutText(out, name);
      wire::PutText(out, source);
    }
    wire::EndFrame(out, frame);
    worker.loading = true;
  }

  void SendCalls(Worker& worker, uint32_t module) {
    Job& job = *worker.job;
    const size_t begin = job.outputs.size();
    job.sent_end = job.single ? begin + 1 : job.inputs.size();
    job.outputs.reserve(job.inputs.size());
    std::string* out = &worker.out;
    const size_t frame = wire::BeginFrame(out, Type::kCall);
    wire::Put<uint32_t>(out, module);
    wire::Put<uint32_t>(out, static_cast<uint32_t>(job.sent_end - begin));
    for (size_t i = begin; i < job.sent_end; ++i) {
      const CallInput& input = job.inputs[i];
      wire::Put<int64_t>(out, input.now_us);
      wire::PutText(out, input.seed);
      wire::PutText(out, input.event.view());
      out->push_back('\0');
    }
    wire::EndFrame(out, frame);
    calls_ += job.sent_end - begin;
  }

  /// Writes what the socket takes; false when the worker is gone.
  static bool Push(Worker& worker) {
    while (worker.out_done < worker.out.size()) {
      const ssize_t count = send(worker.process.fd, worker.out.data() + worker.out_done,
                                 worker.out.size() - worker.out_done, MSG_NOSIGNAL);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return errno == EAGAIN;
      worker.out_done += static_cast<size_t>(count);
    }
    worker.out.clear();
    worker.out_done = 0;
    return true;
  }

  void Receive(Worker& worker) {
    constexpr size_t kReadBytes = 256 << 10;
    const size_t before = worker.in.size();
    worker.in.resize(before + kReadBytes);
    const ssize_t count = recv(worker.process.fd, worker.in.data() + before, kReadBytes, 0);
    worker.in.resize(before + static_cast<size_t>(std::max<ssize_t>(count, 0)));
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
      Lose(worker, "died");
      return;
    }
    while (worker.running() && worker.in.size() - worker.in_done >= wire::kHeaderBytes) {
      const char* header = worker.in.data() + worker.in_done;
      uint32_t size = 0;
      std::memcpy(&size, header, sizeof(size));
      if (size > wire::kMaxFrameBytes) return Lose(worker, "sent a wrong frame");
      if (worker.in.size() - worker.in_done < wire::kHeaderBytes + size) break;
      worker.in_done += wire::kHeaderBytes + size;
      if (!Handle(worker, static_cast<Type>(header[4]),
                  std::string_view(header + wire::kHeaderBytes, size))) {
        return Lose(worker, "sent a wrong frame");
      }
    }
    worker.in.erase(0, worker.in_done);
    worker.in_done = 0;
  }

  /// False when the frame makes no sense; workers run hostile code and are not believed.
  bool Handle(Worker& worker, Type type, std::string_view payload) {
    wire::Reader reader(payload);
    if (type == Type::kHello) {
      worker.ready = true;
      worker.deadline = kNever;
      if (!std::exchange(any_ready_, true)) first_ready_.set_value();
      return true;
    }
    if (worker.job == nullptr) return false;
    if (type == Type::kLoaded && worker.loading) return HandleLoaded(worker, reader);
    Job& job = *worker.job;
    if (type != Type::kResults || worker.loading || job.outputs.size() >= job.sent_end)
      return false;
    CallOutput output;
    const auto outcome = reader.Get<uint8_t>();
    output.outcome = static_cast<Outcome>(outcome);
    for (std::string* text : {&output.value, &output.error, &output.stack, &output.log}) {
      text->assign(reader.GetText());
    }
    if (!reader.ok() || outcome > static_cast<uint8_t>(Outcome::kError)) return false;
    job.outputs.push_back(std::move(output));
    worker.restart_delay = std::chrono::milliseconds(0);
    if (job.outputs.size() == job.inputs.size()) {
      worker.deadline = kNever;
      std::exchange(worker.job, nullptr)->Finish();
    } else if (job.outputs.size() == job.sent_end) {
      SendNext(worker);
    } else {
      worker.deadline = Now() + job.module->limits.cpu_time + settings_.hang_grace;
    }
    return true;
  }

  bool HandleLoaded(Worker& worker, wire::Reader& reader) {
    const bool loaded = reader.Get<uint8_t>() != 0;
    const std::string message(reader.GetText());
    if (!reader.ok()) return false;
    worker.loading = false;
    worker.deadline = kNever;
    if (!loaded) {
      std::exchange(worker.job, nullptr)->FailRest(Outcome::kError, message);
      return true;
    }
    worker.modules.emplace_front(worker.job->module, worker.next_module++);
    SendNext(worker);
    return true;
  }

  const ScriptSettings settings_;
  Mutex mu_;
  std::vector<std::unique_ptr<Job>> submitted_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // The pool thread's.
  std::vector<Worker> workers_;
  std::deque<std::unique_ptr<Job>> queue_;
  std::promise<void> first_ready_;
  bool any_ready_ = false;

  std::atomic<uint64_t> workers_lost_{0};
  std::atomic<uint64_t> calls_{0};
  int wake_fd_ = -1;
  std::thread thread_;
};

}  // namespace

StatusOr<std::unique_ptr<WorkerPool>> WorkerPool::Start(const ScriptSettings& settings) {
  auto pool = std::make_unique<Pool>(settings);
  MR_RETURN_IF_ERROR(pool->Begin());
  return StatusOr<std::unique_ptr<WorkerPool>>(std::move(pool));
}

}  // namespace millrace::script
