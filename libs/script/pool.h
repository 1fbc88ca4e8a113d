#pragma once

#include <atomic>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/script/answer_box.h"
#include "libs/script/worker_link.h"
#include "libs/script/worker_pool.h"

namespace millrace::script {

/// See WorkerPool. One thread owns workers and jobs; others put jobs and answers into boxes.
class Pool final : public WorkerPool {
 public:
  explicit Pool(const ScriptSettings& settings);
  ~Pool() override;
  Status Begin();

  using WorkerPool::Call;
  void Call(std::shared_ptr<const Module> module, std::vector<CallInput> inputs,
            CallOptions options, CallDone done) override;
  Status Load(std::shared_ptr<const Module> module) override;
  StatusOr<Inspection> Inspect(const std::string& name, const std::string& source,
                               SourceFault* fault) override;
  PoolStats stats() const override { return {.workers_lost = workers_lost_, .calls = calls_}; }

 private:
  // worker_pool.cc: jobs come in and go to workers.
  void Submit(std::unique_ptr<Job> job);
  /// Moves what was submitted to the queue; false once the pool is to stop.
  bool TakeSubmitted();
  void Run();
  void Serve(WorkerLink& worker, short events);
  int PollTimeout() const;
  void SendAnswers();
  void GiveWork();
  /// The one with the least to do that can take a job; null: none.
  WorkerLink* FindWorker();
  /// Sends the module, if the worker lacks it, or else what there is to do; false: the worker is
  /// lost.
  bool SendNext(WorkerLink& worker, Job& job);
  /// How long the worker may be silent from now on.
  void SetDeadline(WorkerLink& worker);

  // pool_frames.cc: what workers say. False when it makes no sense; they run hostile code and are
  // not believed.
  bool Handle(WorkerLink& worker, wire::Type type, std::string_view payload);
  bool HandleLoaded(WorkerLink& worker, wire::Reader& reader);
  bool HandleInspected(WorkerLink& worker, wire::Reader& reader);
  bool HandleResult(WorkerLink& worker, wire::Reader& reader);
  bool HandleAsk(WorkerLink& worker, wire::Reader& reader);

  // pool_losses.cc: workers that die.
  struct Fault {
    Outcome outcome = Outcome::kEngineFault;
    ErrorClass error_class = ErrorClass::kEngine;
    std::string how;  // "died", ...
  };
  void StartWorkers();
  static void Delay(WorkerLink& worker);
  /// Replaces a worker and decides what becomes of its jobs: the call that ran is at fault, the
  /// others run again.
  void Lose(WorkerLink& worker, std::string_view how);
  void Punish(const std::shared_ptr<const Module>& module);
  /// Whether jobs of the module have to wait for the consequences of what it did to workers.
  bool IsPunished(const std::shared_ptr<const Module>& module) const;
  /// The module has broken a limit: for a while, those that did may not take all workers.
  void Restrain(const std::shared_ptr<const Module>& module);
  /// Whether a job of the module may not start now.
  bool HasToWait(const Job& job) const;

  const ScriptSettings settings_;
  const std::shared_ptr<AnswerBox> box_ = std::make_shared<AnswerBox>();
  Mutex mu_;
  std::vector<std::unique_ptr<Job>> submitted_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // The pool thread's.
  std::vector<WorkerLink> workers_;
  std::deque<std::unique_ptr<Job>> queue_;
  struct Punishment {
    int losses = 0;
    SteadyTime until{};   // no job of the module starts before
    SteadyTime forget{};  // when it is over, with all losses
  };
  std::map<std::shared_ptr<const Module>, Punishment> punished_;
  std::promise<void> first_ready_;
  bool any_ready_ = false;
  uint32_t last_job_ = 0;
  uint64_t incarnations_ = 0;

  std::atomic<uint64_t> workers_lost_{0};
  std::atomic<uint64_t> calls_{0};
  std::thread thread_;
};

}  // namespace millrace::script
