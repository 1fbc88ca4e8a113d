#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libs/base/status.h"

namespace millrace::event_log {

/// What the journal does to its files, apart from reading; tests put faults here.
///
/// Thread-safety: one thread at a time. Errors name the system's reason: kResourceExhausted when
/// the disk or a limit of the process leaves no room, else kUnavailable.
class Io {
 public:
  virtual ~Io() = default;
  /// Opens the file for reading and writing, making it when there is none.
  virtual StatusOr<int> Open(const std::string& path) = 0;
  /// Reserves disk so that the file holds `bytes`.
  virtual Status Allocate(int fd, uint64_t bytes) = 0;
  virtual Status Write(int fd, std::string_view data, uint64_t position) = 0;
  /// Makes what was written durable.
  virtual Status Sync(int fd) = 0;
  /// What the disk of `folder` has left for us; very many when it does not say.
  virtual uint64_t FreeBytes(const std::string& folder) = 0;
};

/// The operating system; lives for the whole process.
Io& SystemIo();

/// Makes the names in `folder` durable.
Status SyncFolder(const std::string& folder);

/// Reads `bytes` from `position`, fewer at the end of the file.
StatusOr<size_t> ReadAt(int fd, char* to, size_t bytes, uint64_t position);

}  // namespace millrace::event_log
