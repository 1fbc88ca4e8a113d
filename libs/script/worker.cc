#include "libs/script/worker.h"

#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "libs/base/hash.h"
#include "libs/script/cpu_watch.h"
#include "libs/script/limits_of_calls.h"
#include "libs/script/sandbox.h"
#include "libs/script/worker_batch.h"
#include "libs/script/worker_frames.h"
#include "libs/script/worker_process.h"
#include "libs/script/worker_socket.h"

namespace millrace::script {
namespace {

using wire::Type;

// Results go back at this age or size, so that the pool sees progress and can tell a long batch
// from one that hangs.
constexpr int64_t kFlushUs = 10'000;
constexpr size_t kFlushBytes = 256 << 10;

// What the heaps of idle modules may hold together, of those that are larger than a small module's.
constexpr size_t kModestHeapBytes = 1 << 20;
constexpr size_t kKeptHeapBytes = 16 << 20;

int64_t MonotonicUs() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
}

class Worker final : public Outside {
 public:
  Worker(int fd, WorkerMark* mark) : socket_(fd), mark_(mark), engine_(MakeQuickJsEngine()) {}

  [[noreturn]] void Run() {
    const size_t hello = wire::BeginFrame(out(), Type::kHello);
    wire::EndFrame(out(), hello);
    while (true) {
      if (handled_ != told_ && deferred_.empty()) {
        const size_t frame = wire::BeginFrame(out(), Type::kWaiting);
        wire::Put<uint64_t>(out(), told_ = handled_);
        wire::EndFrame(out(), frame);
      }
      WorkerSocket::Frame frame;
      if (deferred_.empty()) {
        socket_.Flush();
        frame = socket_.Receive();
      } else {
        frame = std::move(deferred_.front());
        deferred_.pop_front();
      }
      Handle(std::move(frame));
      ++handled_;
    }
  }

  uint32_t Ask(uint32_t call, std::string_view name, std::string_view arguments) override {
    return SendQuestion(call, name, arguments, false);
  }

  HostAnswer AskNow(uint32_t call, std::string_view name, std::string_view arguments) override {
    const uint32_t request = SendQuestion(call, name, arguments, true);
    if (request == 0) return {.failed = true, .text = "too many questions to the host at once"};
    socket_.Flush();
    while (true) {
      WorkerSocket::Frame frame = socket_.Receive();
      if (frame.type == Type::kAnswer) {
        wire::Reader reader(frame.payload);
        if (reader.Get<uint32_t>() == request) {
          ++handled_;
          TakeRequest(request);
          return ReadAnswer(reader);
        }
      }
      deferred_.push_back(std::move(frame));
    }
  }

  void Runs(uint32_t call, int64_t left_us) override {
    CpuWatch::Arm(left_us);
    const auto found = calls_.find(call);
    mark_->job = 0;
    if (found != calls_.end()) Mark(*found->second.batch, found->second.index);
  }

 private:
  struct CallPlace {
    WorkerBatch* batch = nullptr;
    size_t index = 0;
    uint32_t questions = 0;
  };

  void Mark(const WorkerBatch& batch, size_t index) {
    mark_->input = batch.call(index).input;
    mark_->job = batch.job();
  }

  std::string* out() { return &socket_.out(); }

  void Handle(WorkerSocket::Frame frame) {
    wire::Reader reader(frame.payload);
    switch (frame.type) {
      case Type::kLoad:
        return Load(reader);
      case Type::kDrop:
        modules_.erase(reader.Get<uint32_t>());
        return;
      case Type::kCall:
        return StartBatch(reader, &frame.payload);
      case Type::kAnswer:
        return Answer(reader);
      case Type::kInspect:
        return Inspect(reader);
      default:
        WorkerSocket::Exit();
    }
  }

  void Load(wire::Reader& reader) {
    const auto number = reader.Get<uint32_t>();
    const std::shared_ptr<const Module> module = ReadModule(reader);
    const auto now_us = reader.Get<int64_t>();
    const std::string_view seed = reader.GetText();
    if (module == nullptr || !reader.ok()) WorkerSocket::Exit();
    auto instance = engine_->Load(module, this, {.now_us = now_us, .seed = seed});
    const size_t frame = wire::BeginFrame(out(), Type::kLoaded);
    wire::Put<uint8_t>(out(), instance.ok() ? 1 : 0);
    wire::PutText(out(), Message(instance.status()));
    wire::EndFrame(out(), frame);
    if (!instance.ok()) return;
    // Loaded only to see whether it can be: then not at a time that its events know.
    if (now_us == 0 && (*instance)->loaded_by_time()) instance->reset();
    modules_[number] = std::make_shared<LoadedModule>(
        LoadedModule{.module = module, .instance = *std::move(instance)});
  }

  void Inspect(wire::Reader& reader) {
    const std::string name(reader.GetText());
    const std::string source(reader.GetText());
    if (!reader.ok()) WorkerSocket::Exit();
    SourceFault fault;
    const auto inspection = engine_->Inspect(name, source, &fault);
    AppendInspection(inspection, fault, out());
  }

  void StartBatch(wire::Reader& reader, std::string* payload) {
    const auto job = reader.Get<uint32_t>();
    const auto found = modules_.find(reader.Get<uint32_t>());
    if (!reader.ok() || found == modules_.end()) WorkerSocket::Exit();
    auto batch = std::make_unique<WorkerBatch>(job, found->second, std::move(*payload));
    if (!batch->Read(++batches_made_, 2 * sizeof(uint32_t))) WorkerSocket::Exit();
    batches_.emplace(job, std::move(batch));
    Continue();
  }

  void Answer(wire::Reader& reader) {
    const auto request = reader.Get<uint32_t>();
    const HostAnswer answer = ReadAnswer(reader);
    const std::shared_ptr<LoadedModule> loaded = TakeRequest(request);
    if (loaded == nullptr) return;  // its call is over
    loaded->instance->Answer(request, answer);
    Collect(*loaded);
    Continue();
  }

  HostAnswer ReadAnswer(wire::Reader& reader) {
    HostAnswer answer;
    answer.failed = reader.Get<uint8_t>() != 0;
    answer.text = reader.GetText();
    answer.error_name = reader.GetText();
    if (!reader.ok()) WorkerSocket::Exit();
    return answer;
  }

  uint32_t SendQuestion(uint32_t call, std::string_view name, std::string_view arguments,
                        bool now) {
    const auto found = calls_.find(call);
    if (found == calls_.end() || found->second.questions >= kMaxQuestionsOfCall ||
        requests_.size() >= kMaxQuestionsOfWorker) {
      return 0;
    }
    ++found->second.questions;
    asked_ = true;
    if (++next_request_ == 0) ++next_request_;
    WorkerBatch& batch = *found->second.batch;
    requests_[next_request_] = {.call = call, .job = batch.job()};
    const size_t frame = wire::BeginFrame(out(), Type::kAsk);
    wire::Put<uint8_t>(out(), now ? 1 : 0);
    wire::Put<uint32_t>(out(), next_request_);
    wire::Put<uint32_t>(out(), batch.job());
    wire::Put<uint32_t>(out(), batch.call(found->second.index).input);
    wire::PutText(out(), name);
    wire::PutText(out(), arguments);
    wire::EndFrame(out(), frame);
    return next_request_;
  }

  /// The module whose call asked; null when that is over.
  std::shared_ptr<LoadedModule> TakeRequest(uint32_t request) {
    const auto found = requests_.find(request);
    if (found == requests_.end()) return nullptr;
    const Request taken = found->second;
    requests_.erase(found);
    const auto call = calls_.find(taken.call);
    if (call != calls_.end()) --call->second.questions;
    const auto batch = batches_.find(taken.job);
    return batch == batches_.end() ? nullptr : batch->second->shared_loaded();
  }

  /// Starts every call that may start.
  void Continue() {
    bool progress = true;
    while (progress) {
      progress = false;
      for (auto next = batches_.begin(); next != batches_.end();) {
        WorkerBatch& batch = *(next++)->second;
        size_t index = 0;
        const std::shared_ptr<LoadedModule> loaded = batch.shared_loaded();
        const uint32_t job = batch.job();
        while (batches_.contains(job) && batch.TakeNext(&index)) {
          progress = true;
          StartCall(batch, index);
          Collect(*loaded);
          FlushWhenDue();
        }
        if (batches_.contains(job) && batch.done()) EndBatch(batch);
      }
    }
    mark_->job = 0;
  }

  void StartCall(WorkerBatch& batch, size_t index) {
    if (++next_call_ == 0) ++next_call_;
    calls_[next_call_] = {.batch = &batch, .index = index};
    LoadedModule& loaded = batch.loaded();
    if (loaded.instance == nullptr) {
      auto instance = engine_->Load(loaded.module, this, batch.call(index).view);
      if (!instance.ok()) {
        return EndCall(next_call_, {.outcome = Outcome::kError,
                                    .error = std::string(Message(instance.status())),
                                    .error_class = ErrorClass::kThrown});
      }
      loaded.instance = *std::move(instance);
    }
    loaded.instance->Start(next_call_, batch.call(index).view);
  }

  /// Sends what has ended in an instance; a broken instance is thrown away, and what it had not
  /// finished starts again.
  void Collect(LoadedModule& loaded) {
    if (loaded.instance == nullptr) return;
    CallOutput output;
    while (const uint32_t call = loaded.instance->TakeEnded(&output)) {
      EndCall(call, std::move(output));
      output = {};
    }
    if (!loaded.instance->spent()) return;
    loaded.instance = nullptr;
    malloc_trim(0);
    for (auto next = calls_.begin(); next != calls_.end();) {
      const auto place = next++;
      if (&place->second.batch->loaded() != &loaded) continue;
      place->second.batch->StartAgain(place->second.index);
      std::erase_if(requests_,
                    [&](const auto& entry) { return entry.second.call == place->first; });
      calls_.erase(place);
    }
  }

  void EndCall(uint32_t call, const CallOutput& output) {
    const auto found = calls_.find(call);
    if (found == calls_.end()) WorkerSocket::Exit();
    WorkerBatch& batch = *found->second.batch;
    const size_t index = found->second.index;
    calls_.erase(found);
    Mark(batch, index);  // its result may be more than there is memory for
    const size_t before = out()->size();
    AppendResult(batch.job(), batch.call(index).input, output, out());
    if (out()->size() - before > wire::kMaxFrameBytes) {
      out()->resize(before);
      const CallOutput refusal{.outcome = Outcome::kError,
                               .error = "the result is too large",
                               .error_class = ErrorClass::kResultTooLarge};
      AppendResult(batch.job(), batch.call(index).input, refusal, out());
    }
    mark_->job = 0;
    batch.HasEnded(index);
  }

  /// What nobody waits for any more is answered with an error, so that no promise stays open in the
  /// module's state.
  void EndBatch(WorkerBatch& batch) {
    const uint32_t job = batch.job();
    const std::shared_ptr<LoadedModule> loaded = batch.shared_loaded();
    std::vector<uint32_t> open;
    for (const auto& [request, entry] : requests_) {
      if (entry.job == job) open.push_back(request);
    }
    batches_.erase(job);
    loaded->last_used = ++uses_;
    for (const uint32_t request : open) {
      requests_.erase(request);
      if (loaded->instance == nullptr) continue;
      loaded->instance->Answer(request, {.failed = true, .text = "the call that asked has ended"});
      Collect(*loaded);
    }
    DropHeaps();
  }

  /// Modules may keep a little between their calls; where they keep much, the least used of them
  /// lose it and start anew.
  void DropHeaps() {
    while (true) {
      size_t kept = 0;
      LoadedModule* least = nullptr;
      for (const auto& [number, loaded] : modules_) {
        if (loaded->instance == nullptr || loaded->instance->heap_bytes() <= kModestHeapBytes)
          continue;
        kept += loaded->instance->heap_bytes();
        const bool idle = std::none_of(batches_.begin(), batches_.end(), [&](const auto& entry) {
          return entry.second->shared_loaded() == loaded;
        });
        if (idle && (least == nullptr || loaded->last_used < least->last_used))
          least = loaded.get();
      }
      if (kept <= kKeptHeapBytes || least == nullptr) return;
      least->instance = nullptr;
      malloc_trim(0);
    }
  }

  void FlushWhenDue() {
    const int64_t now = MonotonicUs();
    if (!asked_ && now - flushed_us_ < kFlushUs && out()->size() < kFlushBytes) return;
    socket_.Flush();
    asked_ = false;  // hosts work while the next calls run
    flushed_us_ = now;
  }

  struct Request {
    uint32_t call = 0;
    uint32_t job = 0;
  };
  WorkerSocket socket_;
  WorkerMark* const mark_;
  const std::unique_ptr<Engine> engine_;
  std::unordered_map<uint32_t, std::shared_ptr<LoadedModule>> modules_;
  std::map<uint32_t, std::unique_ptr<WorkerBatch>> batches_;  // by job
  std::unordered_map<uint32_t, CallPlace> calls_;             // that run
  std::unordered_map<uint32_t, Request> requests_;
  std::deque<WorkerSocket::Frame> deferred_;  // came while a call waited for its answer
  uint64_t handled_ = 0, told_ = 0;
  uint64_t batches_made_ = 0;
  uint64_t uses_ = 0;
  uint32_t next_call_ = 0;
  uint32_t next_request_ = 0;
  int64_t flushed_us_ = 0;
  bool asked_ = false;
};

/// What reads files when it is first used, which the sandbox does not allow.
void WarmUp() {
  static_cast<void>(Sha256Prefix128(""));  // OpenSSL's settings
  setenv("TZ", "UTC0", 1);                 // scripts' local time is UTC everywhere
  tzset();
}

}  // namespace

void MaybeRunWorker(int argc, char** argv) {
  if (argc != 4 || std::strcmp(argv[1], kWorkerArgument) != 0) return;
  const int fd = std::atoi(argv[2]);
  prctl(PR_SET_NAME, "millrace-script", 0, 0, 0);
  signal(SIGINT, SIG_IGN);   // the terminal's; the pool ends its workers itself
  signal(SIGXFSZ, SIG_IGN);  // no file may grow: a last word on standard error is lost, not deadly
  WarmUp();
  WorkerMark* mark = MapWorkerMark();
  Status status = mark != nullptr ? OkStatus()
                                  : MakeStatus(StatusCode::kResourceExhausted,
                                               "script worker: no memory shared with its pool");
  if (status.ok()) status = CpuWatch::Start();
  if (status.ok()) status = EnterSandbox(std::strtoull(argv[3], nullptr, 10));
  if (!status.ok()) {
    const std::string line = fmt::format("{}\n", Message(status));
    if (write(STDERR_FILENO, line.data(), line.size()) < 0) _exit(4);
    _exit(4);
  }
  Worker(fd, mark).Run();
}

}  // namespace millrace::script
