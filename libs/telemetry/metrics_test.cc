#include "libs/telemetry/metrics.h"

#include <catch2/catch.hpp>

namespace millrace::telemetry {

TEST_CASE("the same name and labels give the same series", "[metrics]") {
  Metrics metrics;
  metrics.GetCounter("millrace_things_total", "Things.", {{"kind", "a"}}).Add(2);
  metrics.GetCounter("millrace_things_total", "Things.", {{"kind", "a"}}).Increment();
  metrics.GetCounter("millrace_things_total", "Things.", {{"kind", "b"}}).Increment();
  metrics.GetGauge("millrace_level_bytes", "Level.").Set(7);
  metrics.GetHistogram("millrace_wait_seconds", "Wait.", LatencyBounds()).Observe(0.003);
  const std::string text = metrics.Render();
  CHECK(text.find("millrace_things_total{kind=\"a\"} 3") != std::string::npos);
  CHECK(text.find("millrace_things_total{kind=\"b\"} 1") != std::string::npos);
  CHECK(text.find("millrace_level_bytes 7") != std::string::npos);
  CHECK(text.find("millrace_wait_seconds_bucket{le=\"0.005\"} 1") != std::string::npos);
}

}  // namespace millrace::telemetry
