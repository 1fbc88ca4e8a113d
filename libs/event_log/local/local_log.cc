#include "libs/event_log/local/local_log.h"

#include <signal.h>

#include <algorithm>
#include <csignal>

#include "libs/event_log/local/log.h"

namespace millrace::event_log {
namespace {

constexpr uint64_t kSegmentsOfQuota = 64;
constexpr uint64_t kSmallestSegment = 128 << 10;
constexpr uint64_t kLargest = 1 << 30;  // places in a journal file are 32 bits
constexpr uint64_t kReserve = 256 << 20;
constexpr uint64_t kReserveOfQuota = 20;

}  // namespace

StatusOr<std::unique_ptr<EventLog>> OpenLocalLog(const LocalLogOptions& options) {
  LocalLogOptions fitting = options;
  // Whole segments are freed, so there must be many of them within the quota.
  fitting.segment_bytes =
      std::min({options.segment_bytes, kLargest,
                std::max(options.quota_bytes / kSegmentsOfQuota, kSmallestSegment)});
  fitting.max_transaction_bytes = std::min<size_t>(options.max_transaction_bytes, kLargest);
  if (!options.reserve_bytes.has_value()) {
    fitting.reserve_bytes = std::min(kReserve, options.quota_bytes / kReserveOfQuota);
  }
  struct sigaction before {};
  if (::sigaction(SIGXFSZ, nullptr, &before) == 0 && before.sa_handler == SIG_DFL) {
    std::signal(SIGXFSZ, SIG_IGN);
  }
  auto log = std::make_unique<local::LocalLog>(fitting);
  MR_RETURN_IF_ERROR(log->Start());
  return log;
}

}  // namespace millrace::event_log
