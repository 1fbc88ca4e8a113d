#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "libs/base/status.h"
#include "libs/script/module.h"

/// What runs JavaScript inside a worker process. The rest of the library knows engines only by
/// this.
namespace millrace::script {

struct CallView {
  std::string_view event;  // a NUL follows
  int64_t now_us = 0;
  std::string_view seed;
};

/// One loaded module with a heap of its own.
///
/// Thread-safety: one thread. After a result whose `spent` is true the instance must be thrown
/// away.
class Instance {
 public:
  virtual ~Instance() = default;
  virtual CallOutput Call(const CallView& call) = 0;
  /// Whether a limit was broken, so that the state of the heap is not to be relied on.
  virtual bool spent() const = 0;
};

/// Thread-safety: one thread. Outlives its instances.
class Engine {
 public:
  virtual ~Engine() = default;
  /// kInvalidArgument with message, line and stack when the module does not compile, throws while
  /// it loads or lacks its entry.
  virtual StatusOr<std::unique_ptr<Instance>> Load(const Module& module) = 0;
};

std::unique_ptr<Engine> MakeQuickJsEngine();

}  // namespace millrace::script
