#include "libs/script/worker_socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace millrace::script {

void WorkerSocket::Exit() {
  _exit(3);
}

void WorkerSocket::Flush() {
  std::string_view rest = out_;
  while (!rest.empty()) {
    const ssize_t count = send(fd_, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (count < 0) {
      if (errno == EINTR) continue;
      Exit();
    }
    rest.remove_prefix(static_cast<size_t>(count));
  }
  out_.clear();
}

void WorkerSocket::ReceiveBytes(char* data, size_t size) {
  while (size > 0) {
    const ssize_t count = recv(fd_, data, size, 0);
    if (count == 0) Exit();
    if (count < 0) {
      if (errno == EINTR) continue;
      Exit();
    }
    data += count;
    size -= static_cast<size_t>(count);
  }
}

WorkerSocket::Frame WorkerSocket::Receive() {
  char header[wire::kHeaderBytes];
  ReceiveBytes(header, sizeof(header));
  uint32_t size = 0;
  std::memcpy(&size, header, sizeof(size));
  if (size > wire::kMaxFrameBytes) Exit();
  Frame frame{.type = static_cast<wire::Type>(header[4])};
  frame.payload.resize(size);
  ReceiveBytes(frame.payload.data(), size);
  return frame;
}

}  // namespace millrace::script
