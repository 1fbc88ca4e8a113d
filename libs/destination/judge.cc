#include <algorithm>

#include "libs/destination/catalogue.h"

namespace millrace::destination {

Verdict Judge(const v1::Definition& definition, const Answer& response) {
  if (!response.network_error.empty()) {
    const bool never =
        response.error_class == "refused_address" || response.error_class == "invalid_request";
    return never ? Verdict::kAbort : Verdict::kRetry;
  }
  const int status = response.status;
  const auto contains = [status](const auto& list) {
    return std::find(list.begin(), list.end(), status) != list.end();
  };
  const v1::Judging& judging = definition.judging();
  if (contains(judging.delivered())) return Verdict::kDelivered;
  if (contains(judging.retried())) return Verdict::kRetry;
  if (contains(judging.aborted())) return Verdict::kAbort;
  if (status >= 200 && status < 300) return Verdict::kDelivered;
  if (status == 408 || status == 429 || status >= 500) return Verdict::kRetry;
  return Verdict::kAbort;
}

}  // namespace millrace::destination
