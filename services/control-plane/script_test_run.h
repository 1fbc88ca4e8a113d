#pragma once

#include <stop_token>
#include <vector>

#include "services/control-plane/real_events.h"
#include "services/control-plane/script_draft.h"

namespace millrace::control_plane {

/// Runs a transformation on given or real events, delivers nothing, and compares with the version
/// in force. Owned by the control plane. Calls wait for the scripts, at most for kDeadline and one
/// batch of events; one at a time.
class ScriptTestRun {
 public:
  static constexpr size_t kMaxEvents = 100;
  static constexpr size_t kMaxEventBytes = 512 << 10;
  static constexpr std::chrono::seconds kDeadline{30};

  ScriptTestRun(const ScriptDeps& deps, event_log::EventLog& log) : deps_(deps), log_(log) {}

  /// kInvalidArgument (code, with faults; events), kNotFound, kDeadlineExceeded, kUnavailable.
  StatusOr<config::v1::TestResponse> Run(const config::v1::TestRequest& request,
                                         const std::stop_token& stop);

 private:
  struct Plan;
  Status FindVersions(const config::v1::TestRequest& request, Plan* plan);
  Status FindEvents(const config::v1::TestRequest& request, Plan* plan);
  StatusOr<std::vector<transformation::Output>> RunVersion(
      const config::v1::TransformationVersion& version, const config::v1::Workspace& workspace,
      const Plan& plan, const std::stop_token& stop);

  const ScriptDeps& deps_;
  event_log::EventLog& log_;
};

}  // namespace millrace::control_plane
