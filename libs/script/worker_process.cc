#include "libs/script/worker_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "libs/script/worker.h"

namespace millrace::script {
namespace {
constexpr int kWorkerFd = 3;
}

StatusOr<WorkerProcess> StartWorkerProcess(size_t address_space_bytes) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return Error(StatusCode::kResourceExhausted, "script worker: socketpair: {}",
                 std::strerror(errno));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], kWorkerFd);
  posix_spawn_file_actions_addclosefrom_np(&actions, kWorkerFd + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);

  std::string name = "millrace-script-worker";
  std::string argument = kWorkerArgument;
  std::string fd = std::to_string(kWorkerFd);
  std::string bytes = std::to_string(address_space_bytes);
  char* const arguments[] = {name.data(), argument.data(), fd.data(), bytes.data(), nullptr};
  char* const environment[] = {nullptr};
  WorkerProcess process;
  const int error =
      posix_spawn(&process.pid, "/proc/self/exe", &actions, &attributes, arguments, environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    return Error(StatusCode::kResourceExhausted, "script worker: cannot start it: {}",
                 std::strerror(error));
  }
  process.fd = ends[0];
  fcntl(process.fd, F_SETFL, O_NONBLOCK);
  return process;
}

void EndWorkerProcess(WorkerProcess* process) {
  if (process->fd >= 0) close(process->fd);
  if (process->pid > 0) {
    kill(process->pid, SIGKILL);
    while (waitpid(process->pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  *process = {};
}

}  // namespace millrace::script
