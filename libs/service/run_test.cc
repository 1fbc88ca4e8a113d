#include "libs/service/run.h"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

#include "libs/service/start_guard.h"

using namespace millrace::service;

namespace {

// Runs `body` in a process of its own, which it may spoil; its exit code, or minus the signal that
// ended it. `meanwhile` gets its id once the child has written a byte.
int InChild(const std::function<int(int ready)>& body,
            const std::function<void(pid_t)>& meanwhile = {}) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) _exit(body(ends[1]));
  close(ends[1]);
  char byte = 0;
  if (meanwhile && read(ends[0], &byte, 1) == 1) meanwhile(child);
  close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace

TEST_CASE("A file-size limit is an error of the write, not the end of the process", "[service]") {
  CHECK(InChild([](int) {
          BlockSignals();
          const rlimit none{0, 0};
          setrlimit(RLIMIT_FSIZE, &none);
          const int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
          if (file < 0) return 2;
          return write(file, "x", 1) < 0 && errno == EFBIG ? 0 : 1;
        }) == 0);
}

TEST_CASE("The limit of open files is raised, and a part kept from connections", "[service]") {
  CHECK(InChild([](int) {
          rlimit limit{};
          getrlimit(RLIMIT_NOFILE, &limit);
          if (limit.rlim_max < 512) return 0;  // nothing to raise here
          limit.rlim_cur = 100;
          limit.rlim_max = 512;
          setrlimit(RLIMIT_NOFILE, &limit);
          if (RaiseDescriptorLimit() != 512) return 1;
          getrlimit(RLIMIT_NOFILE, &limit);
          return limit.rlim_cur == 512 && FirstReservedDescriptor() == 384 ? 0 : 2;
        }) == 0);
}

TEST_CASE("A process that is still starting obeys SIGTERM at once", "[service]") {
  const int signal_number = GENERATE(SIGTERM, SIGINT);
  CHECK(InChild(
            [](int ready) {
              BlockSignals();
              const StartGuard guard;
              if (write(ready, "r", 1) != 1) return 2;
              while (true) pause();  // as one that waits for a log that never comes
            },
            [&](pid_t child) { kill(child, signal_number); }) == 0);
}

TEST_CASE("After the start a signal waits for the service to drain", "[service]") {
  CHECK(InChild(
            [](int ready) {
              BlockSignals();
              StartGuard guard;
              guard.End();
              if (write(ready, "r", 1) != 1) return 2;
              return WaitForSignal() == "SIGTERM" ? 7 : 3;
            },
            [](pid_t child) { kill(child, SIGTERM); }) == 7);
}
