#include "libs/event_log/local/io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>

namespace millrace::event_log {
namespace {

Status SystemError(std::string_view what) {
  const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
  return Error(full ? StatusCode::kResourceExhausted : StatusCode::kUnavailable,
               "local log: {}: {}", what, std::strerror(errno));
}

class SystemIoImpl final : public Io {
 public:
  StatusOr<int> Open(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return SystemError(path);
    return fd;
  }

  Status Allocate(int fd, uint64_t bytes) override {
    if (::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) == 0) return OkStatus();
    // Some file systems cannot reserve; the file then grows as it is written.
    if (errno == EOPNOTSUPP || errno == ENOSYS) return OkStatus();
    return SystemError("reserve disk");
  }

  Status Write(int fd, std::string_view data, uint64_t position) override {
    while (!data.empty()) {
      const ssize_t n = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(position));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return SystemError("write");
      data.remove_prefix(static_cast<size_t>(n));
      position += static_cast<uint64_t>(n);
    }
    return OkStatus();
  }

  Status Sync(int fd) override {
    if (::fdatasync(fd) != 0) return SystemError("sync");
    return OkStatus();
  }

  uint64_t FreeBytes(const std::string& folder) override {
    struct statvfs info {};
    if (::statvfs(folder.c_str(), &info) != 0) return std::numeric_limits<int64_t>::max();
    return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  }
};

}  // namespace

Io& SystemIo() {
  static SystemIoImpl io;
  return io;
}

Status SyncFolder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SystemError(folder);
  const bool synced = ::fsync(fd) == 0;
  const Status status = synced ? OkStatus() : SystemError(folder);
  ::close(fd);
  return status;
}

StatusOr<size_t> ReadAt(int fd, char* to, size_t bytes, uint64_t position) {
  size_t read = 0;
  while (read < bytes) {
    const ssize_t n = ::pread(fd, to + read, bytes - read, static_cast<off_t>(position + read));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError("read");
    if (n == 0) break;
    read += static_cast<size_t>(n);
  }
  return read;
}

}  // namespace millrace::event_log
