#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

/// What a process tells Prometheus about itself, behind plain types; prometheus-cpp stays inside.
namespace millrace::telemetry {

using Labels = std::map<std::string, std::string>;

/// A handle to one time series; any thread, valid as long as its Metrics (also after Remove).
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
/// "millrace_"; a name has one kind. The same name and labels give the same series. Thread-safe.
///
/// The series of one name are bounded: what is asked for beyond `max_series_per_name` shares one
/// series with the label overflow="true", and millrace_metrics_overflowed_series_total counts it.
class Metrics {
 public:
  static constexpr size_t kMaxSeriesPerName = 100'000;

  explicit Metrics(size_t max_series_per_name = kMaxSeriesPerName);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  Counter& GetCounter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge& GetGauge(const std::string& name, const std::string& help, const Labels& labels = {});
  /// `bounds`: upper bounds of the buckets, ascending.
  Histogram& GetHistogram(const std::string& name, const std::string& help,
                          const std::vector<double>& bounds, const Labels& labels = {});

  /// Takes every series that has all of `match` among its labels (not empty) out of the output,
  /// e.g. those of a deleted destination, and answers how many. Handles that somebody still has can
  /// be used, without effect; a series that is asked for again begins anew.
  size_t Remove(const Labels& match);

  /// `collect` runs at the beginning of each Render, for gauges that are looked up and not kept. It
  /// is called as long as the answer lives, by one thread at a time.
  [[nodiscard]] std::shared_ptr<void> OnRender(std::function<void()> collect);

  /// Prometheus text format 0.0.4. With many series it takes its time: never on a thread that takes
  /// events.
  std::string Render() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Bounds in seconds from 1 ms to 3 days, for latencies from received to delivered.
const std::vector<double>& LatencyBounds();

}  // namespace millrace::telemetry
