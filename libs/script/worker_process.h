#pragma once

#include <sys/types.h>

#include <cstddef>

#include "libs/base/status.h"
#include "libs/script/mark.h"

namespace millrace::script {

struct WorkerProcess {
  pid_t pid = -1;
  int fd = -1;                       // non-blocking, the pool's end of the socket
  const WorkerMark* mark = nullptr;  // written by the worker, so not to be believed
};

/// Starts this executable as a worker, without an environment and with no open file but its socket,
/// the memory of its mark and standard error.
StatusOr<WorkerProcess> StartWorkerProcess(size_t address_space_bytes);

/// Kills the process, if it still runs, and reaps it; gives its wait status. `mark` stays.
int EndWorkerProcess(WorkerProcess* process);

void UnmapMark(WorkerProcess* process);

/// In the worker: the mark it shares with its pool, or null.
WorkerMark* MapWorkerMark();

}  // namespace millrace::script
