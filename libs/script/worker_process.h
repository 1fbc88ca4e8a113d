#pragma once

#include <sys/types.h>

#include <cstddef>

#include "libs/base/status.h"

namespace millrace::script {

struct WorkerProcess {
  pid_t pid = -1;
  int fd = -1;  // non-blocking, the pool's end of the socket
};

/// Starts this executable as a worker, without an environment and with no open file but its socket
/// and standard error.
StatusOr<WorkerProcess> StartWorkerProcess(size_t address_space_bytes);

/// Kills the process, if it still runs, and reaps it.
void EndWorkerProcess(WorkerProcess* process);

}  // namespace millrace::script
