#pragma once

/// Script workers are this same executable, started again: see worker_pool.h.
namespace millrace::script {

/// The first statement of every main of an executable that uses a WorkerPool. When this process was
/// started as a worker it runs scripts until its pool is gone and never returns.
void MaybeRunWorker(int argc, char** argv);

/// The argument that makes a process a worker; the socket's number and the address space it may add
/// (in bytes) follow.
inline constexpr char kWorkerArgument[] = "--millrace-script-worker";

}  // namespace millrace::script
