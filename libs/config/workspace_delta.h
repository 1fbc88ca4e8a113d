#pragma once

#include "libs/base/status.h"
#include "millrace/config/v1/config_service.pb.h"
#include "millrace/config/v1/workspace.pb.h"

namespace millrace::config {

/// What turns `from` into `to`. Entities are matched by id; one that differs in any field is sent
/// whole.
v1::WorkspaceDelta MakeDelta(const v1::Workspace& from, const v1::Workspace& to);

/// `workspace` after `delta`. kFailedPrecondition when the delta is for another revision: then the
/// watcher must ask for a snapshot.
StatusOr<v1::Workspace> ApplyDelta(const v1::Workspace& workspace, const v1::WorkspaceDelta& delta);

}  // namespace millrace::config
