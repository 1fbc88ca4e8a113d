#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "libs/base/status.h"
#include "libs/script/host.h"
#include "libs/script/module.h"

/// What runs JavaScript inside a worker process. The rest of the library knows engines only by
/// this.
namespace millrace::script {

/// What the calls of one batch share. Lives until the last of them has ended.
struct BatchView {
  uint64_t id = 0;  // of one batch only
  bool has_shared = false;
  std::string_view shared_json;  // a NUL follows
  bool test = false;
};

/// Its views live until the call has ended.
struct CallView {
  std::string_view event;  // a NUL follows
  int64_t now_us = 0;
  std::string_view seed;
  bool has_extra = false;
  std::string_view extra_json;  // a NUL follows
  const BatchView* batch = nullptr;
};

/// Where an instance sends what its calls ask of the host. Every request has a number of its own.
class Outside {
 public:
  virtual ~Outside() = default;
  /// The answer comes by Instance::Answer. 0: too many are under way.
  virtual uint32_t Ask(uint32_t call, std::string_view name, std::string_view arguments) = 0;
  /// Told whenever code of another call (0: of none) begins to run, and what CPU time it has left;
  /// 0: no code runs.
  virtual void Runs(uint32_t call, int64_t left_us) = 0;
  /// Waits for the answer.
  virtual HostAnswer AskNow(uint32_t call, std::string_view name, std::string_view arguments) = 0;
};

/// One loaded module with a heap of its own. Several calls may be under way, each of them waiting
/// for the host or at the end of its code; code runs only within these functions.
///
/// Thread-safety: one thread. After a result whose `spent` is true the instance must be thrown
/// away, and with it the calls that have not ended.
class Instance {
 public:
  virtual ~Instance() = default;
  /// Begins a call; `call` is not 0 and was never used before.
  virtual void Start(uint32_t call, const CallView& view) = 0;
  virtual void Answer(uint32_t request, const HostAnswer& answer) = 0;
  /// Takes a call that has ended; 0: none.
  virtual uint32_t TakeEnded(CallOutput* output) = 0;
  /// Bytes of its heap.
  virtual size_t heap_bytes() const = 0;
  /// Whether a limit was broken, so that the state of the heap is not to be relied on.
  virtual bool spent() const = 0;
  /// Whether the code looked at the clock or took a random number while it loaded.
  virtual bool loaded_by_time() const = 0;
};

/// Thread-safety: one thread. Outlives its instances.
class Engine {
 public:
  virtual ~Engine() = default;
  /// kInvalidArgument with message, line and stack when the module does not compile, throws while
  /// it loads or lacks its entry. `outside` null: whatever is asked fails. While the code loads,
  /// the clock is that of `first`, the call that it is loaded for, and chance comes from its seed.
  virtual StatusOr<std::unique_ptr<Instance>> Load(std::shared_ptr<const Module> module,
                                                   Outside* outside, const CallView& first) = 0;
  /// See WorkerPool::Inspect.
  virtual StatusOr<Inspection> Inspect(const std::string& name, const std::string& source,
                                       SourceFault* fault) = 0;
};

std::unique_ptr<Engine> MakeQuickJsEngine();

}  // namespace millrace::script
