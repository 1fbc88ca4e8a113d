#include "libs/config/local_source.h"

#include <utility>

namespace millrace::config {

WorkspacePtr LocalSource::Current() const {
  MutexLock lock(mu_);
  return current_;
}

std::shared_ptr<void> LocalSource::Subscribe(std::function<void(WorkspacePtr)> listener) {
  const WorkspacePtr current = Current();
  MutexLock lock(listeners_->mu);
  if (current != nullptr) listener(current);
  const int id = listeners_->next_id++;
  listeners_->by_id[id] = std::move(listener);
  // The handle may outlive the source; then there is nothing left to unsubscribe from.
  return {nullptr, [listeners = std::weak_ptr<Listeners>(listeners_), id](void*) {
            if (const auto alive = listeners.lock()) {
              MutexLock unlock(alive->mu);
              alive->by_id.erase(id);
            }
          }};
}

void LocalSource::Set(WorkspacePtr workspace) {
  {
    MutexLock lock(mu_);
    current_ = workspace;
  }
  MutexLock lock(listeners_->mu);
  for (const auto& [id, listener] : listeners_->by_id) listener(workspace);
}

}  // namespace millrace::config
