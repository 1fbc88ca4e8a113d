#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libs/base/status.h"

namespace millrace::transformation {

/// The key-value state of one workspace in one partition, as one batch sees it: what is committed,
/// and above it what the batch has written. Owned by the processor's worker, which puts the batch's
/// writes into its transaction, so that they hold exactly when the batch's events do.
///
/// Between Begin and End the writes are those of one call; End(false) takes them back.
/// Thread-safety: one call at a time; calls may come from different threads.
class StateScope {
 public:
  virtual ~StateScope() = default;

  virtual void Begin() = 0;
  virtual void End(bool keep) = 0;

  /// JSON text; nothing when absent or expired.
  virtual StatusOr<std::optional<std::string>> Get(std::string_view key) = 0;
  /// `time_to_live` 0: the longest the workspace may keep. kResourceExhausted: the workspace's
  /// quota is used up; kInvalidArgument: key or value too large, with the limit.
  virtual Status Set(std::string_view key, std::string_view json,
                     std::chrono::seconds time_to_live) = 0;
  virtual Status Delete(std::string_view key) = 0;
  /// Adds to a number (absent = 0) and gives the sum. kInvalidArgument: the value is no number.
  virtual StatusOr<double> Increment(std::string_view key, double by,
                                     std::chrono::seconds time_to_live) = 0;
};

}  // namespace millrace::transformation
