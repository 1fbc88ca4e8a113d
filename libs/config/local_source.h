#pragma once

#include <map>

#include "libs/base/mutex.h"
#include "libs/config/config_source.h"

namespace millrace::config {

/// A ConfigSource that its owner sets: the control plane in one process, and tests. Listeners run
/// on the thread that calls Set or Subscribe, one call at a time.
class LocalSource final : public ConfigSource {
 public:
  LocalSource() = default;
  LocalSource(const LocalSource&) = delete;
  LocalSource& operator=(const LocalSource&) = delete;

  WorkspacePtr Current() const override;
  std::shared_ptr<void> Subscribe(std::function<void(WorkspacePtr)> listener) override;
  void Set(WorkspacePtr workspace);

 private:
  struct Listeners {
    Mutex mu;
    std::map<int, std::function<void(WorkspacePtr)>> by_id ABSL_GUARDED_BY(mu);
    int next_id ABSL_GUARDED_BY(mu) = 0;
  };
  const std::shared_ptr<Listeners> listeners_ = std::make_shared<Listeners>();
  mutable Mutex mu_;
  WorkspacePtr current_ ABSL_GUARDED_BY(mu_);
};

}  // namespace millrace::config
