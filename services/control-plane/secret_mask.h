#pragma once

#include <string>
#include <string_view>

#include "libs/base/status.h"
#include "libs/secrets/mask.h"
#include "millrace/config/v1/workspace.pb.h"

namespace millrace::control_plane {

/// Replaces the values of a workspace's secret credentials by `***` in what goes out.
class SecretMask {
 public:
  explicit SecretMask(const config::v1::Workspace& workspace);

  std::string Text(std::string_view text) const;
  /// Of JSON, within its texts and names, so that it stays JSON.
  std::string Json(std::string_view json) const;
  /// The message, and the faults when there are.
  Status Apply(const Status& status) const;

 private:
  const bool needed_;
  const secrets::Mask mask_;
};

}  // namespace millrace::control_plane
