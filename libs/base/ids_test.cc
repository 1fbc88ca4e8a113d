#include "libs/base/ids.h"

#include <catch2/catch.hpp>

#include <set>

#include "libs/base/clock.h"

namespace millrace {

TEST_CASE("ids have their form and differ", "[ids]") {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(NewUuid());
  CHECK(seen.size() == 1000);
  CHECK(seen.begin()->size() == 36);
  CHECK((*seen.begin())[14] == '4');
  CHECK(NewUuidV7(1'000'000) < NewUuidV7(2'000'000));
  CHECK(NewId("src_").size() == 31);
  CHECK(NewSecretHex(16).size() == 32);
}

TEST_CASE("timestamps as SDKs write them", "[clock]") {
  struct Case {
    const char* text;
    const char* utc;
  };
  const auto c = GENERATE(values<Case>({
      {"2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678Z"},
      {"2026-01-02T03:04:05.678901+00:00", "2026-01-02T03:04:05.678Z"},
      {"2026-01-02T03:04:05.678901234+05:30", "2026-01-01T21:34:05.678Z"},
      {"2026-01-02T03:04:05-0800", "2026-01-02T11:04:05.000Z"},
      {"2026-01-02 03:04:05", "2026-01-02T03:04:05.000Z"},
      {"2024-02-29", "2024-02-29T00:00:00.000Z"},
      {"1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"},
      {"2026-13-01T00:00:00Z", ""},
      {"2026-02-29", ""},
      {"2026-01-02T25:00:00Z", ""},
      {"yesterday", ""},
      {"", ""},
  }));
  CAPTURE(c.text);
  int64_t unix_us = 0;
  const bool parsed = ParseTimestamp(c.text, &unix_us);
  CHECK(parsed == (*c.utc != '\0'));
  if (parsed) CHECK(FormatRfc3339Millis(unix_us) == c.utc);
}

}  // namespace millrace
