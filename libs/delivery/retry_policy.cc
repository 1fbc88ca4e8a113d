#include "libs/delivery/retry_policy.h"

#include <time.h>

#include <algorithm>
#include <charconv>
#include <string>

namespace millrace::delivery {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kMillisPerSecond = 1000;
constexpr int64_t kLongestSeconds = 100LL * 365 * 86'400;  // what cannot be counted is this

std::string_view Trimmed(std::string_view text) {
  const auto space = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

// Digits, perhaps with a fraction, which some destinations send; rounded up.
bool ParseSeconds(std::string_view text, int64_t* seconds) {
  const size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  const auto digits = [](std::string_view part) {
    return !part.empty() && std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
  };
  if (!digits(whole)) return false;
  if (point != std::string_view::npos && !digits(text.substr(point + 1))) return false;
  const auto [end, code] = std::from_chars(whole.data(), whole.data() + whole.size(), *seconds);
  if (code != std::errc()) *seconds = kLongestSeconds;
  *seconds = std::min(*seconds, kLongestSeconds);
  if (point != std::string_view::npos) ++*seconds;
  return true;
}

}  // namespace

milliseconds ParseRetryAfter(std::string_view value, int64_t now_us) {
  constexpr milliseconds kNone{-1};
  value = Trimmed(value);
  int64_t seconds = 0;
  if (ParseSeconds(value, &seconds)) return std::chrono::seconds(seconds);
  const std::string text(value);
  for (const char* format :
       {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"}) {
    tm parts{};
    const char* rest = strptime(text.c_str(), format, &parts);
    if (rest == nullptr || *rest != '\0') continue;
    const int64_t wait_ms =
        static_cast<int64_t>(timegm(&parts)) * kMillisPerSecond - now_us / kMillisPerSecond;
    return milliseconds(std::clamp<int64_t>(wait_ms, 0, kLongestSeconds * kMillisPerSecond));
  }
  return kNone;
}

RetryDecision DecideRetry(const RetryOptions& options, const FailedAttempt& failed) {
  constexpr int kTooManyRequests = 429;
  RetryDecision decision;
  const MonotonicTime expires = ExpiresAt(options, failed.born);
  decision.expired = failed.now >= expires;
  milliseconds wait = BackoffDelay(options.backoff, failed.attempts, failed.random);
  const milliseconds asked =
      failed.retry_after ? ParseRetryAfter(*failed.retry_after, failed.wall_us) : milliseconds(-1);
  if (asked.count() >= 0) {
    wait = std::max(wait, std::min(asked, options.max_retry_after));
    if (failed.status == kTooManyRequests) decision.hold_until = failed.now + wait;
  }
  decision.retry_at = std::min(failed.now + wait, expires);
  return decision;
}

}  // namespace millrace::delivery
