#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/telemetry/metrics.h"

/// The inside of Metrics: values, and how the text format writes them.
namespace millrace::telemetry {

/// One series' value; any thread.
class Series {
 public:
  virtual ~Series() = default;
  /// Appends its lines. `labels` as LabelsText made them.
  virtual void Render(const std::string& name, const std::string& labels,
                      std::string& out) const = 0;
};

class CounterSeries final : public Series, public Counter {
 public:
  void Add(double by) override { value_.fetch_add(by, std::memory_order_relaxed); }
  void Render(const std::string& name, const std::string& labels, std::string& out) const override;

 private:
  std::atomic<double> value_{0};
};

class GaugeSeries final : public Series, public Gauge {
 public:
  void Set(double value) override { value_.store(value, std::memory_order_relaxed); }
  void Render(const std::string& name, const std::string& labels, std::string& out) const override;

 private:
  std::atomic<double> value_{0};
};

class HistogramSeries final : public Series, public Histogram {
 public:
  explicit HistogramSeries(const std::vector<double>& bounds);
  void Observe(double value) override;
  void Render(const std::string& name, const std::string& labels, std::string& out) const override;

 private:
  const std::vector<double> bounds_;
  std::vector<std::atomic<uint64_t>> buckets_;  // one more than bounds: what is above them all
  std::atomic<double> sum_{0};
};

/// `a="1",b="2"`, values escaped; empty for none.
std::string LabelsText(const Labels& labels);
std::string EscapeHelp(std::string_view help);

}  // namespace millrace::telemetry
