#include "libs/event_log/local/local_log.h"

#include <algorithm>

#include "libs/event_log/local/log.h"

namespace millrace::event_log {
namespace {

constexpr uint64_t kSegmentsOfQuota = 16;
constexpr uint64_t kSmallestSegment = 128 << 10;

}  // namespace

StatusOr<std::unique_ptr<EventLog>> OpenLocalLog(const LocalLogOptions& options) {
  // Whole segments are freed, so there must be several of them within the quota.
  LocalLogOptions fitting = options;
  fitting.segment_bytes =
      std::min(options.segment_bytes,
               std::max<uint64_t>(options.quota_bytes / kSegmentsOfQuota, kSmallestSegment));
  auto log = std::make_unique<local::LocalLog>(fitting);
  MR_RETURN_IF_ERROR(log->Start());
  return log;
}

}  // namespace millrace::event_log
