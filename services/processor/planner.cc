#include "services/processor/planner.h"

#include <pthread.h>

#include <utility>

namespace millrace::processor {
namespace {

constexpr std::chrono::seconds kTryAgain{3};
constexpr int kLoadAttempts = 3;

}  // namespace

void Planner::Start() {
  subscription_ = deps_.workspace.Subscribe([this](const config::WorkspacePtr& workspace) {
    if (workspace == nullptr) return;
    MutexLock lock(mu_);
    newest_ = workspace;
    wake_.notify_all();
  });
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

void Planner::Stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
  subscription_.reset();
}

/// Waits for a workspace that is not loaded; with `again` at most so long, and then gives the
/// loaded one.
config::WorkspacePtr Planner::Next(const std::stop_token& stop, bool again) {
  MutexLock lock(mu_);
  const auto is_new = [this] { return newest_ != loaded_; };
  if (again) {
    wake_.wait_for(lock.native(), stop, kTryAgain, is_new);
  } else {
    wake_.wait(lock.native(), stop, is_new);
  }
  return newest_;
}

bool Planner::WaitUntilNewest(std::chrono::milliseconds most) {
  MutexLock lock(mu_);
  if (newest_ == loaded_) return false;
  wake_.wait_for(lock.native(), most, [this] { return newest_ == loaded_; });
  return true;
}

void Planner::Run(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "planner");
  telemetry::Gauge& in_force =
      deps_.metrics.GetGauge("millrace_processor_workspace_revision",
                             "Revision of the workspace that events are processed by.");
  bool again = false;
  while (true) {
    auto workspace = Next(stop, again);
    if (stop.stop_requested()) return;
    auto plan = std::make_shared<const FanOut>(workspace, deps_.types, deps_.transformers);
    // What may pass in a moment is not worth the dead letters.
    for (int more = kLoadAttempts - 1; plan->passing_fault() && more > 0 && !stop.stop_requested();
         --more) {
      plan = std::make_shared<const FanOut>(workspace, deps_.types, deps_.transformers);
    }
    again = plan->passing_fault();
    current_.Set(std::move(plan));
    in_force.Set(static_cast<double>(workspace->revision()));
    MutexLock lock(mu_);
    loaded_ = std::move(workspace);
    wake_.notify_all();
  }
}

}  // namespace millrace::processor
