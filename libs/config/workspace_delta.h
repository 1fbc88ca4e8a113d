#pragma once

#include <string>
#include <vector>

#include "libs/base/status.h"
#include "millrace/config/v1/config_service.pb.h"

namespace millrace::config {

/// What changed between two revisions. The entities of a list are told apart by `id`, or `key`. All
/// lists of Workspace take part, whatever there are: nothing names them.
v1::WorkspaceDelta MakeDelta(const v1::Workspace& from, const v1::Workspace& to);

/// The workspace of the delta's revision. kFailedPrecondition when the delta is for another
/// revision than `workspace`, or of a form that this version does not know: ask for a new snapshot.
StatusOr<v1::Workspace> ApplyDelta(const v1::Workspace& workspace, const v1::WorkspaceDelta& delta);

}  // namespace millrace::config
