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

TEST_CASE("Series of something deleted are removed by their labels", "[telemetry]") {
  Metrics metrics;
  auto& gone = metrics.GetCounter("millrace_test_total", "Tests.", {{"destination", "d1"}});
  metrics.GetCounter("millrace_test_total", "Tests.", {{"destination", "d10"}}).Add(7);
  metrics.GetGauge("millrace_test_bytes", "Bytes.", {{"destination", "d1"}, {"source", "s"}})
      .Set(1);
  metrics.GetHistogram("millrace_test_seconds", "Time.", {1}, {{"destination", "d1"}}).Observe(2);
  metrics.GetGauge("millrace_test_trap", "Text.", {{"source", "destination=\"d1"}}).Set(3);
  CHECK(metrics.Remove({}) == 0);
  CHECK(metrics.Remove({{"destination", "d1"}}) == 3);
  gone.Increment();  // whoever still has the handle does no harm
  const std::string text = metrics.Render();
  CHECK(text.find("{destination=\"d1\"") == std::string::npos);
  CHECK(text.find("millrace_test_bytes") == std::string::npos);
  CHECK_THAT(text, Catch::Contains("millrace_test_total{destination=\"d10\"} 7"));
  CHECK_THAT(text, Catch::Contains("millrace_test_trap{source=\"destination=\\\"d1\"} 3"));
  metrics.GetCounter("millrace_test_total", "Tests.", {{"destination", "d1"}}).Add(5);
  CHECK_THAT(metrics.Render(), Catch::Contains("millrace_test_total{destination=\"d1\"} 5"));
}

TEST_CASE("The series of one name are bounded; those beyond share one", "[telemetry]") {
  Metrics metrics(2);
  for (int i = 0; i < 5; ++i) {
    metrics.GetCounter("millrace_test_total", "Tests.", {{"user", std::to_string(i)}}).Increment();
  }
  const std::string text = metrics.Render();
  CHECK_THAT(text, Catch::Contains("millrace_test_total{user=\"1\"} 1"));
  CHECK(text.find("user=\"2\"") == std::string::npos);
  CHECK_THAT(text, Catch::Contains("millrace_test_total{overflow=\"true\"} 3"));
  CHECK_THAT(text, Catch::Contains("millrace_metrics_overflowed_series_total 3"));
}

TEST_CASE("What is looked up at each rendering is there while its owner lives", "[telemetry]") {
  Metrics metrics;
  int asked = 0;
  auto kept = metrics.OnRender(
      [&] { metrics.GetGauge("millrace_test_count", "Count.").Set(static_cast<double>(++asked)); });
  CHECK_THAT(metrics.Render(), Catch::Contains("millrace_test_count 1"));
  CHECK_THAT(metrics.Render(), Catch::Contains("millrace_test_count 2"));
  kept.reset();
  metrics.Render();
  CHECK(asked == 2);
}
