#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace millrace {

using absl::OkStatus;
using absl::Status;
using absl::StatusCode;
template <typename T>
using StatusOr = absl::StatusOr<T>;

/// Makes a Status. The code is the retry decision: kUnavailable, kDeadlineExceeded and
/// kResourceExhausted mean "try again", kInvalidArgument "never", kFailedPrecondition "an operator
/// must act", kInternal "our bug".
Status MakeStatus(StatusCode code, std::string_view message);

template <typename... Args>
Status Error(StatusCode code, fmt::format_string<Args...> format, Args&&... args) {
  return MakeStatus(code, fmt::format(format, std::forward<Args>(args)...));
}

/// The message of `status`; valid as long as `status`.
std::string_view Message(const Status& status);

/// `status` with "`context`: " put before its message; OK stays OK.
Status Annotate(const Status& status, std::string_view context);

/// Whether the same call may succeed later.
bool IsRetryable(const Status& status);

}  // namespace millrace

#define MR_RETURN_IF_ERROR(expr)                                                  \
  do {                                                                            \
    if (::millrace::Status mr_status = (expr); !mr_status.ok()) return mr_status; \
  } while (false)

#define MR_CONCAT_INNER(a, b) a##b
#define MR_CONCAT(a, b) MR_CONCAT_INNER(a, b)
#define MR_ASSIGN_OR_RETURN(lhs, expr) \
  MR_ASSIGN_OR_RETURN_IMPL(MR_CONCAT(mr_or_, __LINE__), lhs, expr)
#define MR_ASSIGN_OR_RETURN_IMPL(var, lhs, expr) \
  auto var = (expr);                             \
  if (!var.ok()) return std::move(var).status(); \
  lhs = *std::move(var)

/// Stops the process when `condition`, an invariant of ours, does not hold. Never for outside
/// input.
#define MR_CHECK(condition) \
  ((condition) ? void(0) : ::millrace::CheckFailed(#condition, __FILE__, __LINE__))

namespace millrace {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);
}  // namespace millrace
