#include "libs/delivery/retry_policy.h"

#include <catch2/catch.hpp>

namespace millrace::delivery {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int64_t kWall = 1'767'225'600'000'000;  // 2026-01-01T00:00:00Z
const MonotonicTime kNow(hours(1000));
constexpr uint64_t kLeast = 0;  // the jitter's two ends
constexpr uint64_t kMost = ~0ull;

FailedAttempt Attempt(int status, std::optional<std::string_view> retry_after, uint64_t random) {
  return {.status = status,
          .retry_after = retry_after,
          .born = kNow - seconds(1),
          .now = kNow,
          .wall_us = kWall,
          .random = random};
}

TEST_CASE("Retry-After waits at least our own back-off and at most the cap", "[retry]") {
  struct Case {
    const char* name;
    std::optional<std::string_view> header;
    milliseconds least, most;
  };
  const auto c = GENERATE(values<Case>({
      {"none: our own", std::nullopt, milliseconds(500), milliseconds(1000)},
      {"0 makes no storm", "0", milliseconds(500), milliseconds(1000)},
      {"a date gone by", "Wed, 31 Dec 2025 23:00:00 GMT", milliseconds(500), milliseconds(1000)},
      {"neither number nor date", "soon", milliseconds(500), milliseconds(1000)},
      {"two minutes", "120", seconds(120), seconds(120)},
      {"a date", "Thu, 01 Jan 2026 00:00:30 GMT", seconds(30), seconds(30)},
      {"a year", "31536000", hours(1), hours(1)},
      {"a date in a year", "Fri, 01 Jan 2027 00:00:00 GMT", hours(1), hours(1)},
      {"more than can be counted", "99999999999999999999999", hours(1), hours(1)},
  }));
  CAPTURE(c.name);
  for (const int status : {429, 503}) {
    const auto soonest = DecideRetry({}, Attempt(status, c.header, kLeast));
    const auto latest = DecideRetry({}, Attempt(status, c.header, kMost));
    CHECK(soonest.retry_at - kNow >= c.least);
    CHECK(latest.retry_at - kNow <= c.most);
    CHECK_FALSE(latest.expired);
  }
}

TEST_CASE("only a 429 with Retry-After holds the whole destination, with the same bounds",
          "[retry]") {
  CHECK(DecideRetry({}, Attempt(429, "31536000", kMost)).hold_until == kNow + hours(1));
  CHECK(DecideRetry({}, Attempt(429, "0", kLeast)).hold_until >= kNow + milliseconds(500));
  CHECK(DecideRetry({}, Attempt(429, std::nullopt, kMost)).hold_until == MonotonicTime());
  CHECK(DecideRetry({}, Attempt(429, "soon", kMost)).hold_until == MonotonicTime());
  CHECK(DecideRetry({}, Attempt(503, "120", kMost)).hold_until == MonotonicTime());
}

TEST_CASE("no event waits beyond its age, whatever the destination asks for", "[retry]") {
  const RetryOptions options{.max_age = seconds(20)};
  FailedAttempt failed = Attempt(429, "31536000", kMost);
  failed.attempts = 100;
  CHECK(DecideRetry(options, failed).retry_at == failed.born + seconds(20));
  CHECK_FALSE(DecideRetry(options, failed).expired);
  failed.now = failed.born + seconds(20);
  CHECK(DecideRetry(options, failed).expired);
}

TEST_CASE("the back-off doubles with each attempt up to its maximum", "[retry]") {
  const RetryOptions options{.backoff = {.initial = seconds(1), .maximum = seconds(60)}};
  FailedAttempt failed = Attempt(500, std::nullopt, kMost);
  for (const auto& [attempt, wait] : {std::pair{1u, 1}, std::pair{2u, 2}, std::pair{6u, 32},
                                      std::pair{7u, 60}, std::pair{4'000'000'000u, 60}}) {
    failed.attempts = attempt;
    CAPTURE(attempt);
    const auto at = DecideRetry(options, failed).retry_at;
    CHECK(at <= kNow + seconds(wait));
    CHECK(at >= kNow + seconds(wait) - milliseconds(1));
  }
}

TEST_CASE("Retry-After is read as seconds and as a date", "[retry]") {
  struct Case {
    const char* text;
    int64_t ms;
  };
  const auto c = GENERATE(values<Case>({{"120", 120'000},
                                        {" 0 ", 0},
                                        {"1.5", 2'000},
                                        {"Thu, 01 Jan 2026 00:00:30 GMT", 30'000},
                                        {"Thursday, 01-Jan-26 00:00:30 GMT", 30'000},
                                        {"Thu Jan  1 00:00:30 2026", 30'000},
                                        {"Wed, 31 Dec 2025 23:00:00 GMT", 0},
                                        {"soon", -1},
                                        {"-5", -1},
                                        {"1.", -1},
                                        {"1e9", -1},
                                        {"", -1}}));
  CAPTURE(c.text);
  CHECK(ParseRetryAfter(c.text, kWall).count() == c.ms);
}

}  // namespace
}  // namespace millrace::delivery
