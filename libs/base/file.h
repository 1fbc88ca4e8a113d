#pragma once

#include <string>
#include <string_view>

#include "libs/base/status.h"

namespace millrace {

/// kNotFound when there is no such file; messages name the path and the system's reason.
StatusOr<std::string> ReadFile(const std::string& path);

/// Replaces `path` so that after a crash it holds the old or the new text, whole: writes beside it,
/// syncs, renames, syncs the folder. `mode` e.g. 0600.
Status WriteFileAtomically(const std::string& path, std::string_view text, int mode);

/// Makes `path` and its parents (mode 0700 for those that are new).
Status MakeFolders(const std::string& path);

}  // namespace millrace
