#include "libs/base/failpoint.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <string>

#include "libs/base/mutex.h"
#include "libs/base/string_map.h"

namespace millrace {
namespace {

struct Armed {
  int countdown = 0;
  std::string action;
};

std::atomic<bool> any_armed{false};
Mutex mu;
StringMap<Armed>& Table() {
  static StringMap<Armed> table;
  return table;
}

Status ArmOne(std::string_view one) {
  const size_t first = one.find(':');
  const size_t second = one.find(':', first == std::string_view::npos ? first : first + 1);
  if (second == std::string_view::npos) {
    return Error(StatusCode::kInvalidArgument, "failpoint '{}' is not name:n:action", one);
  }
  const std::string_view count = one.substr(first + 1, second - first - 1);
  Armed armed{.action = std::string(one.substr(second + 1))};
  const auto [end, error] =
      std::from_chars(count.data(), count.data() + count.size(), armed.countdown);
  if (error != std::errc() || end != count.data() + count.size() || armed.countdown < 1) {
    return Error(StatusCode::kInvalidArgument, "failpoint '{}': n must be a number from 1", one);
  }
  if (armed.action != "kill" && armed.action != "stop" && armed.action != "error") {
    return Error(StatusCode::kInvalidArgument, "failpoint '{}': action is kill, stop or error",
                 one);
  }
  MutexLock lock(mu);
  Table()[std::string(one.substr(0, first))] = std::move(armed);
  any_armed.store(true, std::memory_order_relaxed);
  return OkStatus();
}

}  // namespace

Status ArmFailpoints(std::string_view spec) {
  while (!spec.empty()) {
    const size_t comma = spec.find(',');
    MR_RETURN_IF_ERROR(ArmOne(spec.substr(0, comma)));
    spec = comma == std::string_view::npos ? std::string_view() : spec.substr(comma + 1);
  }
  return OkStatus();
}

Status Failpoint(std::string_view name) {
  if (!any_armed.load(std::memory_order_relaxed)) return OkStatus();
  MutexLock lock(mu);
  const auto found = Table().find(name);
  if (found == Table().end() || found->second.countdown == 0) return OkStatus();
  if (--found->second.countdown > 0) return OkStatus();
  if (found->second.action == "kill") raise(SIGKILL);
  if (found->second.action == "stop") {
    raise(SIGSTOP);
    return OkStatus();
  }
  return Error(StatusCode::kUnavailable, "failpoint {}", name);
}

}  // namespace millrace
