#include "services/router/retry_schedule.h"

#include <time.h>

#include <charconv>
#include <string>

namespace millrace::router {

std::chrono::milliseconds ParseRetryAfter(std::string_view value, int64_t now_us) {
  constexpr std::chrono::milliseconds kNone{-1};
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  while (!value.empty() && value.back() == ' ') value.remove_suffix(1);
  uint32_t seconds = 0;
  const auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (code == std::errc() && end == value.data() + value.size())
    return std::chrono::seconds(seconds);
  const std::string text(value);
  for (const char* format :
       {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"}) {
    tm parts{};
    const char* rest = strptime(text.c_str(), format, &parts);
    if (rest == nullptr || *rest != '\0') continue;
    const int64_t wait_ms = static_cast<int64_t>(timegm(&parts)) * 1000 - now_us / 1000;
    return std::chrono::milliseconds(std::max<int64_t>(wait_ms, 0));
  }
  return kNone;
}

}  // namespace millrace::router
