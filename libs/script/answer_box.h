#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/script/host.h"

namespace millrace::script {

/// Where the answers of hosts wait for the pool's thread, and what wakes it. Shared with the
/// functions that hosts are given, so it outlives the pool if need be. Any thread.
class AnswerBox {
 public:
  struct Answer {
    uint64_t incarnation = 0;  // of the worker that asked
    uint32_t request = 0;
    HostAnswer answer;
  };

  AnswerBox() : wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  AnswerBox(const AnswerBox&) = delete;
  AnswerBox& operator=(const AnswerBox&) = delete;
  ~AnswerBox() {
    if (wake_fd_ >= 0) close(wake_fd_);
  }

  int wake_fd() const { return wake_fd_; }
  void Wake() const {
    const uint64_t one = 1;
    if (write(wake_fd_, &one, sizeof(one)) < 0 && errno != EAGAIN) MR_CHECK(errno == EINTR);
  }
  void Put(Answer answer) {
    bool wake = false;
    {
      MutexLock lock(mu_);
      wake = answers_.empty();
      answers_.push_back(std::move(answer));
    }
    if (wake) Wake();
  }
  std::vector<Answer> Take() {
    MutexLock lock(mu_);
    return std::exchange(answers_, {});
  }

 private:
  const int wake_fd_;
  Mutex mu_;
  std::vector<Answer> answers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace millrace::script
