#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "libs/base/status.h"
#include "libs/script/module.h"
#include "libs/script/worker.h"

namespace millrace::script {

struct ScriptSettings {
  int workers = 1;
  /// Beyond a call's own CPU limit, how long a worker may be silent before it is killed.
  std::chrono::milliseconds hang_grace{10'000};
  /// Address space all modules of one worker may take together; a worker beyond it is replaced.
  size_t worker_memory_bytes = 1'024 << 20;
  /// Modules that stay loaded in one worker; the least used leaves first.
  size_t max_modules = 256;
  std::chrono::milliseconds start_timeout{10'000};
};

struct PoolStats {
  uint64_t workers_lost = 0;
  uint64_t calls = 0;
};

using CallDone = std::function<void(std::vector<CallOutput>)>;

/// Runs scripts in sandboxed worker processes.
///
/// Thread-safety: any thread. `done` runs on the pool's thread, exactly once, also when the pool is
/// destroyed, with one output per input; it must not block or call Load. A worker that dies or
/// hangs is replaced; the call at fault gets kEngineFault, its neighbours are run again and get
/// their results.
class WorkerPool {
 public:
  /// kFailedPrecondition when workers cannot start, e.g. because main lacks MaybeRunWorker.
  static StatusOr<std::unique_ptr<WorkerPool>> Start(const ScriptSettings& settings);
  virtual ~WorkerPool() = default;

  /// Queues one batch; outputs come in the order of the inputs.
  virtual void Call(std::shared_ptr<const Module> module, std::vector<CallInput> inputs,
                    CallOptions options, CallDone done) = 0;
  void Call(std::shared_ptr<const Module> module, std::vector<CallInput> inputs, CallDone done) {
    Call(std::move(module), std::move(inputs), {}, std::move(done));
  }

  /// Loads `module` now and waits: kInvalidArgument with line and stack when it is at fault.
  virtual Status Load(std::shared_ptr<const Module> module) = 0;

  /// Reads `source` in a worker without running it, and waits. kInvalidArgument: it does not
  /// compile; `fault` then says where.
  virtual StatusOr<Inspection> Inspect(const std::string& name, const std::string& source,
                                       SourceFault* fault) = 0;

  virtual PoolStats stats() const = 0;
};

}  // namespace millrace::script
