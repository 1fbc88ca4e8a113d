#include "libs/base/clock.h"

#include <fmt/format.h>

#include <string_view>

namespace millrace {
namespace {

class SystemClockImpl final : public Clock {
 public:
  int64_t NowMicros() const override {
    return std::chrono::duration_cast<Micros>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  MonotonicTime Monotonic() const override { return std::chrono::steady_clock::now(); }
};

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
int64_t DaysFromCivil(int64_t y, unsigned m, unsigned d) {
  y -= m <= 2;
  const int64_t era = (y >= 0 ? y : y - 399) / 400;
  const auto yoe = static_cast<unsigned>(y - era * 400);
  const unsigned doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
  const unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
  return era * 146097 + static_cast<int64_t>(doe) - 719468;
}

void CivilFromDays(int64_t z, int64_t* year, unsigned* month, unsigned* day) {
  z += 719468;
  const int64_t era = (z >= 0 ? z : z - 146096) / 146097;
  const auto doe = static_cast<unsigned>(z - era * 146097);
  const unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  const unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
  const unsigned mp = (5 * doy + 2) / 153;
  *day = doy - (153 * mp + 2) / 5 + 1;
  *month = mp < 10 ? mp + 3 : mp - 9;
  *year = static_cast<int64_t>(yoe) + era * 400 + (*month <= 2);
}

/// Reads exactly `digits` digits at `*at` and moves it on.
bool ReadDigits(std::string_view text, size_t* at, int digits, int* value) {
  if (*at + static_cast<size_t>(digits) > text.size()) return false;
  int result = 0;
  for (int i = 0; i < digits; ++i) {
    const char c = text[*at + static_cast<size_t>(i)];
    if (c < '0' || c > '9') return false;
    result = result * 10 + (c - '0');
  }
  *at += static_cast<size_t>(digits);
  *value = result;
  return true;
}

bool Skip(std::string_view text, size_t* at, char c) {
  if (*at >= text.size() || text[*at] != c) return false;
  ++*at;
  return true;
}

bool ReadFraction(std::string_view text, size_t* at, int64_t* micros) {
  int64_t scale = 100'000;
  const size_t start = *at;
  for (; *at < text.size() && text[*at] >= '0' && text[*at] <= '9'; ++*at) {
    *micros += (text[*at] - '0') * scale;
    scale /= 10;
  }
  return *at > start;
}

bool ReadZone(std::string_view text, size_t* at, int* offset_minutes) {
  *offset_minutes = 0;
  if (*at == text.size()) return true;  // no zone: UTC
  if (text[*at] == 'Z' || text[*at] == 'z') return ++*at == text.size();
  const char sign = text[*at];
  if (sign != '+' && sign != '-') return false;
  ++*at;
  int hours = 0, minutes = 0;
  if (!ReadDigits(text, at, 2, &hours)) return false;
  if (*at < text.size()) {
    Skip(text, at, ':');
    if (!ReadDigits(text, at, 2, &minutes)) return false;
  }
  if (hours > 23 || minutes > 59) return false;
  *offset_minutes = (hours * 60 + minutes) * (sign == '-' ? -1 : 1);
  return *at == text.size();
}

int DaysInMonth(int year, int month) {
  constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return month == 2 && leap ? 29 : kDays[month - 1];
}

}  // namespace

Clock& SystemClock() {
  static SystemClockImpl clock;
  return clock;
}

std::string FormatRfc3339Millis(int64_t unix_us) {
  int64_t ms = unix_us / 1000;
  if (unix_us % 1000 < 0) --ms;
  int64_t days = ms / 86'400'000;
  int64_t rest = ms % 86'400'000;
  if (rest < 0) {
    rest += 86'400'000;
    --days;
  }
  int64_t year = 0;
  unsigned month = 0, day = 0;
  CivilFromDays(days, &year, &month, &day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", year, month, day,
                     rest / 3'600'000, rest / 60'000 % 60, rest / 1000 % 60, rest % 1000);
}

bool ParseTimestamp(std::string_view text, int64_t* unix_us) {
  size_t at = 0;
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, offset = 0;
  int64_t micros = 0;
  if (!ReadDigits(text, &at, 4, &year) || !Skip(text, &at, '-') ||
      !ReadDigits(text, &at, 2, &month) || !Skip(text, &at, '-') ||
      !ReadDigits(text, &at, 2, &day)) {
    return false;
  }
  if (month < 1 || month > 12 || day < 1 || day > DaysInMonth(year, month)) return false;
  if (at < text.size()) {
    if (text[at] != 'T' && text[at] != 't' && text[at] != ' ') return false;
    ++at;
    if (!ReadDigits(text, &at, 2, &hour) || !Skip(text, &at, ':') ||
        !ReadDigits(text, &at, 2, &minute)) {
      return false;
    }
    if (Skip(text, &at, ':') && !ReadDigits(text, &at, 2, &second)) return false;
    if (at < text.size() && (text[at] == '.' || text[at] == ',')) {
      ++at;
      if (!ReadFraction(text, &at, &micros)) return false;
    }
    if (hour > 23 || minute > 59 || second > 60) return false;
    if (!ReadZone(text, &at, &offset)) return false;
  }
  const int64_t days =
      DaysFromCivil(year, static_cast<unsigned>(month), static_cast<unsigned>(day));
  const int64_t seconds = days * 86'400 + hour * 3600 + minute * 60 + second - offset * 60LL;
  *unix_us = seconds * 1'000'000 + micros;
  return true;
}

}  // namespace millrace
