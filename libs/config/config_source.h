#pragma once

#include <functional>
#include <memory>

#include "millrace/config/v1/workspace.pb.h"

namespace millrace::config {

using WorkspacePtr = std::shared_ptr<const v1::Workspace>;

/// Where a service reads the workspace model: the watch client of the control plane with its disk
/// cache, or, in one process, the control plane's store itself.
///
/// Thread-safety: all methods may be called from any thread.
class ConfigSource {
 public:
  virtual ~ConfigSource() = default;
  /// The workspace in force; null until the first snapshot has come (from disk or control plane).
  virtual WorkspacePtr Current() const = 0;
  /// Calls `listener` after each change, and once at once when there is a snapshot, from the
  /// source's own thread, until the returned handle is destroyed. The listener must not block.
  [[nodiscard]] virtual std::shared_ptr<void> Subscribe(
      std::function<void(WorkspacePtr)> listener) = 0;
};

}  // namespace millrace::config
