#include "services/control-plane/topic_keeper.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "libs/base/log.h"

namespace millrace::control_plane {
namespace {

constexpr std::chrono::milliseconds kTick{1000};
constexpr std::chrono::milliseconds kCountersWait{5000};
constexpr const char* kMaking = "making the topics of";
constexpr const char* kDeleting = "deleting the topics of";

}  // namespace

void TopicKeeper::Ensure(const config::v1::Workspace& workspace) {
  MutexLock work(work_mu_);
  {
    StringSet there;
    for (const auto& destination : workspace.destinations()) there.insert(destination.id());
    absl::erase_if(made_, [&](const std::string& id) { return !there.contains(id); });
    MutexLock lock(mu_);
    absl::erase_if(making_, [&](const auto& entry) { return !there.contains(entry.first); });
  }
  MakeMissing(workspace);
}

void TopicKeeper::MakeMissing(const config::v1::Workspace& workspace) {
  const MonotonicTime deadline = deps_.clock.Monotonic() + options_.patience;
  bool away = false;
  for (const auto& destination : workspace.destinations()) {
    const std::string& id = destination.id();
    if (made_.contains(id)) continue;
    {
      MutexLock lock(mu_);
      if (!Due(making_, id)) continue;
    }
    Status made = Error(StatusCode::kUnavailable, "the log is away or slow");
    if (!away && deps_.clock.Monotonic() <= deadline) made = deps_.make(destination);
    away = away || made.code() == StatusCode::kUnavailable;
    if (made.ok()) made_.insert(id);
    MutexLock lock(mu_);
    Note(kMaking, id, made, &making_);
  }
}

void TopicKeeper::Start() {
  thread_ = std::jthread([this](const std::stop_token& stop) {
    pthread_setname_np(pthread_self(), "topics");
    std::mutex mu;
    std::condition_variable_any wake;
    while (!stop.stop_requested()) {
      RunOnce();
      std::unique_lock lock(mu);
      wake.wait_for(lock, stop, kTick, [] { return false; });
    }
  });
}

void TopicKeeper::Stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void TopicKeeper::RunOnce() {
  const auto workspace = deps_.config.Current();
  if (workspace == nullptr) return;
  {
    MutexLock work(work_mu_);
    MakeMissing(*workspace);
  }
  DeleteDue(*workspace);
}

void TopicKeeper::DeleteDue(const config::v1::Workspace& workspace) {
  StringSet there;
  for (const auto& destination : workspace.destinations()) there.insert(destination.id());
  const auto deleted = deps_.store.DeletedDestinations();
  if (!deleted.ok()) return log::Warning("deleted destinations: {}", Message(deleted.status()));
  const int64_t now_us = deps_.clock.NowMicros();
  const int64_t grace_us = Micros(options_.grace).count();
  for (const DeletedDestination& one : *deleted) {
    if (one.settled || there.contains(one.id)) continue;
    const int64_t age_us = now_us - one.deleted_at_us;
    if (age_us >= 0 && age_us < grace_us) continue;
    MutexLock work(work_mu_);
    {
      MutexLock lock(mu_);
      if (!Due(deleting_, one.id)) continue;
    }
    (void)FinishLocked(one.id);
  }
}

Status TopicKeeper::Finish(const std::string& destination_id) {
  MutexLock work(work_mu_);
  return FinishLocked(destination_id);
}

Status TopicKeeper::FinishLocked(const std::string& destination_id) {
  // A destination that is back since the thread looked keeps its topics.
  MR_ASSIGN_OR_RETURN(const auto deleted, deps_.store.DeletedDestinations());
  const auto found = std::ranges::find(deleted, destination_id, &DeletedDestination::id);
  if (found == deleted.end() || found->settled) return OkStatus();
  made_.erase(destination_id);
  const Status status = [&]() -> Status {
    MR_RETURN_IF_ERROR(deps_.remove(destination_id));
    MR_RETURN_IF_ERROR(deps_.store.SettleDeleted(destination_id, /*all_read=*/false));
    // Nobody counts anything of it from now on: what is in the log by now is all.
    if (!deps_.reader.CatchUp(kCountersWait)) {
      return Error(StatusCode::kUnavailable, "its counters are not read up to now");
    }
    return deps_.store.SettleDeleted(destination_id);
  }();
  MutexLock lock(mu_);
  Note(kDeleting, destination_id, status, &deleting_);
  return status;
}

std::string TopicKeeper::FaultOf(const std::string& destination_id) const {
  MutexLock lock(mu_);
  const auto found = making_.find(destination_id);
  return found == making_.end() ? std::string() : found->second.message;
}

bool TopicKeeper::Due(const Faults& faults, const std::string& destination_id) const {
  const auto found = faults.find(destination_id);
  return found == faults.end() || deps_.clock.Monotonic() >= found->second.next_try;
}

void TopicKeeper::Note(const char* what, const std::string& destination_id, const Status& status,
                       Faults* faults) {
  const auto found = faults->find(destination_id);
  if (status.ok()) {
    if (found == faults->end()) return;
    faults->erase(found);
    return log::Info("{} destination '{}' has worked now", what, destination_id);
  }
  if (found == faults->end()) {
    log::Warning("{} destination '{}': {}; trying again", what, destination_id, Message(status));
  }
  Fault& fault = (*faults)[destination_id];
  fault.message = Message(status);
  fault.next_try =
      deps_.clock.Monotonic() + BackoffDelay(options_.backoff, ++fault.attempts, FastRandom());
}

}  // namespace millrace::control_plane
