#pragma once

#include <string>

#include "libs/script/wire.h"

namespace millrace::script {

/// A worker's end of the socket to its pool. When the pool is gone, so is the process.
class WorkerSocket {
 public:
  struct Frame {
    wire::Type type = wire::Type::kHello;
    std::string payload;
  };

  explicit WorkerSocket(int fd) : fd_(fd) {}
  WorkerSocket(const WorkerSocket&) = delete;
  WorkerSocket& operator=(const WorkerSocket&) = delete;

  /// Frames to be sent by the next Flush.
  std::string& out() { return out_; }
  void Flush();
  /// Waits for a frame.
  Frame Receive();
  /// Ends the process: the destructors of one that holds hostile heaps are not worth running.
  [[noreturn]] static void Exit();

 private:
  void ReceiveBytes(char* data, size_t size);

  const int fd_;
  std::string out_;
};

}  // namespace millrace::script
