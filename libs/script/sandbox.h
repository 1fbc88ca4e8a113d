#pragma once

#include <cstddef>

#include "libs/base/status.h"

namespace millrace::script {

/// Gives up, for good, everything this process does not need to run scripts: new privileges, core
/// dumps, open files, address space beyond `extra_bytes` more than now, and all system calls but
/// those for memory, clocks, the connected socket and the end.
Status EnterSandbox(size_t extra_bytes);

}  // namespace millrace::script
