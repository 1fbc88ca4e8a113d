#include "libs/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/cleanup/cleanup.h"

namespace millrace {
namespace {

Status SystemError(std::string_view what, const std::string& path) {
  const int error = errno;
  const StatusCode code = error == ENOENT   ? StatusCode::kNotFound
                          : error == ENOSPC ? StatusCode::kResourceExhausted
                                            : StatusCode::kFailedPrecondition;
  return Error(code, "{} {}: {}", what, path, std::strerror(error));
}

Status WriteAll(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t wrote = write(fd, text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return SystemError("writing", path);
    text.remove_prefix(static_cast<size_t>(wrote));
  }
  return OkStatus();
}

}  // namespace

StatusOr<std::string> ReadFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError("opening", path);
  absl::Cleanup close_fd = [fd] { close(fd); };
  std::string text;
  char buffer[65536];
  while (true) {
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError("reading", path);
    if (got == 0) return text;
    text.append(buffer, static_cast<size_t>(got));
  }
}

Status WriteFileAtomically(const std::string& path, std::string_view text, int mode) {
  const std::string temporary = path + ".new";
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (fd < 0) return SystemError("creating", temporary);
  Status status = WriteAll(fd, text, temporary);
  if (status.ok() && fsync(fd) != 0) status = SystemError("syncing", temporary);
  close(fd);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
    status = SystemError("renaming to", path);
  }
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  const int folder_fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_fd < 0) return SystemError("opening", folder);
  const bool synced = fsync(folder_fd) == 0;
  close(folder_fd);
  return synced ? OkStatus() : SystemError("syncing", folder);
}

Status MakeFolders(const std::string& path) {
  const std::filesystem::path target(path);
  std::filesystem::path current;
  for (const auto& part : target) {
    current /= part;
    if (mkdir(current.c_str(), 0700) != 0 && errno != EEXIST) {
      return SystemError("creating folder", current.string());
    }
  }
  std::error_code error;
  if (!std::filesystem::is_directory(target, error)) {
    return Error(StatusCode::kFailedPrecondition, "{} is not a folder", path);
  }
  return OkStatus();
}

}  // namespace millrace
