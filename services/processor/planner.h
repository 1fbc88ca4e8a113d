#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <stop_token>
#include <thread>

#include "libs/base/mutex.h"
#include "libs/base/snapshot.h"
#include "libs/config/config_source.h"
#include "services/processor/fan_out.h"
#include "services/processor/processor.h"

namespace millrace::processor {

/// Keeps the fan-out of the newest workspace: loads its transformations on a thread of its own, so
/// that the workers go on with the one before until it is ready. What could not be loaded for a
/// reason that may pass is tried again. Owned by the processor; Current may be called from any
/// thread.
class Planner {
 public:
  explicit Planner(const Deps& deps) : deps_(deps) {}
  ~Planner() { Stop(); }
  Planner(const Planner&) = delete;
  Planner& operator=(const Planner&) = delete;

  void Start();
  void Stop();
  /// Null until the first workspace has come and is loaded.
  std::shared_ptr<const FanOut> Current() const { return current_.Get(); }
  /// Waits until the newest workspace is loaded, at most so long; whether there was anything to
  /// wait for.
  bool WaitUntilNewest(std::chrono::milliseconds most);

 private:
  void Run(const std::stop_token& stop);
  config::WorkspacePtr Next(const std::stop_token& stop, bool again);

  const Deps& deps_;
  Snapshot<FanOut> current_{nullptr};
  Mutex mu_;
  std::condition_variable_any wake_;
  config::WorkspacePtr newest_ ABSL_GUARDED_BY(mu_);
  config::WorkspacePtr loaded_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<void> subscription_;
  std::jthread thread_;
};

}  // namespace millrace::processor
