#pragma once

#include <atomic>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "libs/event_log/local/io.h"

namespace millrace::event_log {

/// A disk that fails when it is told to, and that can lose what was not synced.
///
/// Nothing is really synced. The log's writer and, while no log is open, the test use it.
class WeakIo : public Io {
 public:
  StatusOr<int> Open(const std::string& path) override {
    const StatusOr<int> fd = SystemIo().Open(path);
    if (fd.ok()) paths_[*fd] = path;
    return fd;
  }
  Status Allocate(int fd, uint64_t bytes) override {
    if (Fails()) return Error(StatusCode::kUnavailable, "reserving failed");
    return SystemIo().Allocate(fd, bytes);
  }
  Status Write(int fd, std::string_view data, uint64_t position) override {
    std::string before(data.size(), '\0');
    const auto read = ReadAt(fd, before.data(), before.size(), position);
    if (!read.ok()) return read.status();
    unsynced_[paths_.at(fd)].push_back({position, before.substr(0, *read)});
    if (!Fails()) return SystemIo().Write(fd, data, position);
    const Status half = SystemIo().Write(fd, data.substr(0, data.size() / 2), position);
    return half.ok() ? Error(StatusCode::kUnavailable, "write failed") : half;
  }
  Status Sync(int fd) override {
    if (failing_syncs > 0 || Fails()) {
      if (failing_syncs > 0) --failing_syncs;
      return Error(StatusCode::kUnavailable, "sync failed");
    }
    unsynced_.erase(paths_.at(fd));
    return OkStatus();
  }
  uint64_t FreeBytes(const std::string& folder) override { return SystemIo().FreeBytes(folder); }

  /// With no log open.
  void LosePower() {
    for (auto& [path, writes] : unsynced_) {
      std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
      for (auto write = writes.rbegin(); write != writes.rend() && file; ++write) {
        if (Survives()) continue;
        file.seekp(static_cast<std::streamoff>(write->position));
        file << write->before;
      }
    }
    unsynced_.clear();
  }

  std::atomic<int> failing_syncs{0};

 protected:
  virtual bool Fails() { return false; }
  /// Whether a write that was not synced is on the disk all the same.
  virtual bool Survives() { return false; }

 private:
  struct Unsynced {
    uint64_t position = 0;
    std::string before;
  };
  std::map<int, std::string> paths_;
  std::map<std::string, std::vector<Unsynced>> unsynced_;
};

}  // namespace millrace::event_log
