#include "libs/service/start_guard.h"

#include <signal.h>
#include <unistd.h>

#include <ctime>

#include "libs/base/log.h"

namespace millrace::service {
namespace {

constexpr timespec kTick{.tv_sec = 0, .tv_nsec = 20'000'000};

}  // namespace

StartGuard::StartGuard()
    : thread_([this] {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        while (!ended_.load()) {
          const int received = sigtimedwait(&set, nullptr, &kTick);
          if (received <= 0) continue;
          log::Info("{} while starting: stopped", received == SIGINT ? "SIGINT" : "SIGTERM");
          _exit(0);
        }
      }) {}

void StartGuard::End() {
  ended_.store(true);
  if (thread_.joinable()) thread_.join();
}

}  // namespace millrace::service
