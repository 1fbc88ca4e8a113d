#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

/// Metrics behind plain types; prometheus-cpp stays inside metrics.cc.
namespace millrace::telemetry {

using Labels = std::map<std::string, std::string>;

/// A handle to one time series; cheap to copy, any thread, valid as long as its Metrics.
class Counter {
 public:
  virtual ~Counter() = default;
  virtual void Add(double by) = 0;
  void Increment() { Add(1); }
};
class Gauge {
 public:
  virtual ~Gauge() = default;
  virtual void Set(double value) = 0;
};
class Histogram {
 public:
  virtual ~Histogram() = default;
  virtual void Observe(double value) = 0;
};

/// Registry of one process. Names are lower_snake with unit and (counters) `_total`, starting with
/// "millrace_". The same name and labels give the same series. Thread-safe.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  Counter& GetCounter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge& GetGauge(const std::string& name, const std::string& help, const Labels& labels = {});
  /// `bounds`: upper bounds of the buckets, ascending.
  Histogram& GetHistogram(const std::string& name, const std::string& help,
                          const std::vector<double>& bounds, const Labels& labels = {});
  /// Prometheus text format 0.0.4.
  std::string Render() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Bounds in seconds from 1 ms to 3 days, for latencies from received to delivered.
const std::vector<double>& LatencyBounds();

}  // namespace millrace::telemetry
