#include "libs/script/sandbox.h"

#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace millrace::script {
namespace {

Status SystemError(std::string_view what, int error) {
  return Error(StatusCode::kFailedPrecondition, "script worker: {}: {}", what,
               std::strerror(error));
}

Status Limit(int resource, std::string_view name, rlim_t value) {
  const rlimit limit{value, value};
  return setrlimit(static_cast<__rlimit_resource>(resource), &limit) == 0
             ? OkStatus()
             : SystemError(name, errno);
}

size_t AddressSpaceInUse() {
  unsigned long pages = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(file, "%lu", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return size_t{pages} * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

Status LimitSystemCalls() {
#ifdef MILLRACE_SANITIZED
  // The sanitizers' own calls would be killed.
  const uint32_t otherwise = SCMP_ACT_ERRNO(EPERM);
#else
  const uint32_t otherwise = SCMP_ACT_KILL_PROCESS;
#endif
  scmp_filter_ctx filter = seccomp_init(otherwise);
  if (filter == nullptr) return SystemError("seccomp", ENOMEM);
  int result = 0;
  for (const int call : {SCMP_SYS(read),
                         SCMP_SYS(write),
                         SCMP_SYS(recvfrom),
                         SCMP_SYS(sendto),
                         SCMP_SYS(poll),
                         SCMP_SYS(munmap),
                         SCMP_SYS(mremap),
                         SCMP_SYS(brk),
                         SCMP_SYS(madvise),
                         SCMP_SYS(futex),
                         SCMP_SYS(clock_gettime),
                         SCMP_SYS(gettimeofday),
                         SCMP_SYS(getrandom),
                         SCMP_SYS(rt_sigreturn),
                         SCMP_SYS(rt_sigprocmask),
                         SCMP_SYS(sigaltstack),
                         SCMP_SYS(restart_syscall),
                         SCMP_SYS(close),
                         SCMP_SYS(exit),
                         SCMP_SYS(exit_group),
                         SCMP_SYS(getpid),
                         SCMP_SYS(gettid),
                         SCMP_SYS(tgkill)}) {
    if (result == 0) result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
  }
  // Memory that can be executed is never needed.
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    if (result == 0) {
      result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1,
                                SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    }
  }
  if (result == 0) result = seccomp_load(filter);
  seccomp_release(filter);
  return result == 0 ? OkStatus() : SystemError("seccomp", -result);
}

}  // namespace

Status EnterSandbox(size_t extra_bytes) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return SystemError("no_new_privs", errno);
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return SystemError("dumpable", errno);
  MR_RETURN_IF_ERROR(Limit(RLIMIT_CORE, "core limit", 0));
  MR_RETURN_IF_ERROR(Limit(RLIMIT_FSIZE, "file size limit", 0));
#ifdef MILLRACE_SANITIZED
  static_cast<void>(extra_bytes);
  static_cast<void>(&AddressSpaceInUse);
#else
  MR_RETURN_IF_ERROR(Limit(RLIMIT_AS, "memory limit", AddressSpaceInUse() + extra_bytes));
#endif
  MR_RETURN_IF_ERROR(Limit(RLIMIT_NOFILE, "open file limit", 0));
  return LimitSystemCalls();
}

}  // namespace millrace::script
