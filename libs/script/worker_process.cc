#include "libs/script/worker_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "libs/script/worker.h"

namespace millrace::script {
namespace {
constexpr int kWorkerFd = 3;
constexpr int kMarkFd = 4;

void* MapMark(int fd, int protection) {
  void* memory = mmap(nullptr, sizeof(WorkerMark), protection, MAP_SHARED, fd, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}
}  // namespace

StatusOr<WorkerProcess> StartWorkerProcess(size_t address_space_bytes) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return Error(StatusCode::kResourceExhausted, "script worker: socketpair: {}",
                 std::strerror(errno));
  }
  const int mark_fd = memfd_create("millrace-script-mark", MFD_CLOEXEC);
  WorkerProcess process;
  if (mark_fd >= 0 && ftruncate(mark_fd, sizeof(WorkerMark)) == 0) {
    process.mark = static_cast<const WorkerMark*>(MapMark(mark_fd, PROT_READ));
  }
  if (process.mark == nullptr) {
    for (const int fd : {ends[0], ends[1], mark_fd}) close(fd);
    return Error(StatusCode::kResourceExhausted, "script worker: no memory to share with it: {}",
                 std::strerror(errno));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  const int spare = std::max(ends[1], mark_fd) + 1;
  // By way of numbers that neither of them has, as either may be the other's place.
  posix_spawn_file_actions_adddup2(&actions, ends[1], spare);
  posix_spawn_file_actions_adddup2(&actions, mark_fd, spare + 1);
  posix_spawn_file_actions_adddup2(&actions, spare, kWorkerFd);
  posix_spawn_file_actions_adddup2(&actions, spare + 1, kMarkFd);
  posix_spawn_file_actions_addclosefrom_np(&actions, kMarkFd + 1);
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
  const int error =
      posix_spawn(&process.pid, "/proc/self/exe", &actions, &attributes, arguments, environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  close(mark_fd);
  if (error != 0) {
    close(ends[0]);
    UnmapMark(&process);
    return Error(StatusCode::kResourceExhausted, "script worker: cannot start it: {}",
                 std::strerror(error));
  }
  process.fd = ends[0];
  fcntl(process.fd, F_SETFL, O_NONBLOCK);
  return process;
}

int EndWorkerProcess(WorkerProcess* process) {
  int status = 0;
  if (process->fd >= 0) close(process->fd);
  if (process->pid > 0) {
    kill(process->pid, SIGKILL);
    while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR) {
    }
  }
  process->fd = -1;
  process->pid = -1;
  return status;
}

void UnmapMark(WorkerProcess* process) {
  if (process->mark != nullptr) {
    munmap(const_cast<WorkerMark*>(process->mark), sizeof(WorkerMark));
  }
  process->mark = nullptr;
}

WorkerMark* MapWorkerMark() {
  auto* mark = static_cast<WorkerMark*>(MapMark(kMarkFd, PROT_READ | PROT_WRITE));
  close(kMarkFd);
  return mark;
}

}  // namespace millrace::script
