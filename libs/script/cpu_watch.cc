#include "libs/script/cpu_watch.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace millrace::script {
namespace {

constexpr int64_t kTickUs = 10'000;
// What the engine may need to stop a script by itself.
constexpr int64_t kMarginUs = 30'000;

// Written by the code that is watched, read by the signal handler that interrupts it.
volatile uint64_t stretch = 0;
volatile int64_t limit_us = 0;
// The handler's.
uint64_t seen_stretch = 0;
int64_t seen_at_us = 0;

void Look(int) {
  if (limit_us == 0) return;
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  const int64_t now_us = int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
  if (stretch != seen_stretch) {
    seen_stretch = stretch;
    seen_at_us = now_us;
  } else if (now_us - seen_at_us > limit_us + kMarginUs) {
    _exit(kCpuExitCode);
  }
}

}  // namespace

Status CpuWatch::Start() {
  struct sigaction action {};
  action.sa_handler = &Look;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGVTALRM;
  const itimerspec every{.it_interval = {.tv_nsec = kTickUs * 1000},
                         .it_value = {.tv_nsec = kTickUs * 1000}};
  timer_t timer{};
  if (sigaction(SIGVTALRM, &action, nullptr) != 0 ||
      timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) != 0 ||
      timer_settime(timer, 0, &every, nullptr) != 0) {
    return Error(StatusCode::kFailedPrecondition, "script worker: no CPU timer: {}",
                 std::strerror(errno));
  }
  return OkStatus();
}

void CpuWatch::Arm(int64_t left_us) {
  limit_us = 0;
  stretch = stretch + 1;
  limit_us = left_us;
}

}  // namespace millrace::script
