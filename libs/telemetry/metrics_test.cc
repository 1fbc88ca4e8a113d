#include "libs/telemetry/metrics.h"

#include <catch2/catch.hpp>

using millrace::telemetry::LatencyBounds;
using millrace::telemetry::Metrics;

TEST_CASE("The same name and labels give the same series", "[telemetry]") {
  Metrics metrics;
  auto& first = metrics.GetCounter("millrace_test_total", "Tests.", {{"source", "a"}});
  CHECK(&metrics.GetCounter("millrace_test_total", "Tests.", {{"source", "a"}}) == &first);
  auto& second = metrics.GetCounter("millrace_test_total", "Tests.", {{"source", "b"}});
  CHECK(&second != &first);
  first.Increment();
  first.Add(2);
  second.Increment();
  const std::string text = metrics.Render();
  CHECK_THAT(text, Catch::Contains("# TYPE millrace_test_total counter"));
  CHECK_THAT(text, Catch::Contains("millrace_test_total{source=\"a\"} 3"));
  CHECK_THAT(text, Catch::Contains("millrace_test_total{source=\"b\"} 1"));
}

TEST_CASE("Gauges and histograms are rendered", "[telemetry]") {
  Metrics metrics;
  metrics.GetGauge("millrace_test_age_seconds", "Age.").Set(1.5);
  metrics.GetHistogram("millrace_test_seconds", "Time.", LatencyBounds()).Observe(0.003);
  const std::string text = metrics.Render();
  CHECK_THAT(text, Catch::Contains("millrace_test_age_seconds 1.5"));
  CHECK_THAT(text, Catch::Contains("millrace_test_seconds_bucket{le=\"0.0025\"} 0"));
  CHECK_THAT(text, Catch::Contains("millrace_test_seconds_bucket{le=\"0.005\"} 1"));
  CHECK_THAT(text, Catch::Contains("millrace_test_seconds_count 1"));
}
