#include "libs/event_log/local/local_log.h"

#include "libs/event_log/local/log.h"

namespace millrace::event_log {

StatusOr<std::unique_ptr<EventLog>> OpenLocalLog(const LocalLogOptions& options) {
  auto log = std::make_unique<local::LocalLog>(options);
  MR_RETURN_IF_ERROR(log->Start());
  return log;
}

}  // namespace millrace::event_log
