#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include <vector>

#include "libs/telemetry/metrics.h"

/// The inside of Metrics: the values, kept by prometheus-cpp.
namespace millrace::telemetry {

/// One series' value; any thread.
class Series {
 public:
  virtual ~Series() = default;
  virtual prometheus::ClientMetric Collect() const = 0;
};

class CounterSeries final : public Series, public Counter {
 public:
  void Add(double by) override { value_.Increment(by); }
  prometheus::ClientMetric Collect() const override { return value_.Collect(); }

 private:
  prometheus::Counter value_;
};

class GaugeSeries final : public Series, public Gauge {
 public:
  void Set(double value) override { value_.Set(value); }
  prometheus::ClientMetric Collect() const override { return value_.Collect(); }

 private:
  prometheus::Gauge value_;
};

class HistogramSeries final : public Series, public Histogram {
 public:
  explicit HistogramSeries(const std::vector<double>& bounds) : value_(bounds) {}
  void Observe(double value) override { value_.Observe(value); }
  prometheus::ClientMetric Collect() const override { return value_.Collect(); }

 private:
  prometheus::Histogram value_;
};

}  // namespace millrace::telemetry
