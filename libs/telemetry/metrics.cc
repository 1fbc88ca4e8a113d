#include "libs/telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <utility>

#include "libs/base/mutex.h"

namespace millrace::telemetry {
namespace {

class PrometheusCounter final : public Counter {
 public:
  explicit PrometheusCounter(prometheus::Counter& counter) : counter_(counter) {}
  void Add(double by) override { counter_.Increment(by); }

 private:
  prometheus::Counter& counter_;
};

class PrometheusGauge final : public Gauge {
 public:
  explicit PrometheusGauge(prometheus::Gauge& gauge) : gauge_(gauge) {}
  void Set(double value) override { gauge_.Set(value); }

 private:
  prometheus::Gauge& gauge_;
};

class PrometheusHistogram final : public Histogram {
 public:
  explicit PrometheusHistogram(prometheus::Histogram& histogram) : histogram_(histogram) {}
  void Observe(double value) override { histogram_.Observe(value); }

 private:
  prometheus::Histogram& histogram_;
};

using SeriesKey = std::pair<std::string, Labels>;

}  // namespace

struct Metrics::Impl {
  prometheus::Registry registry{prometheus::Registry::InsertBehavior::Merge};
  Mutex mu;
  std::map<SeriesKey, std::unique_ptr<Counter>> counters ABSL_GUARDED_BY(mu);
  std::map<SeriesKey, std::unique_ptr<Gauge>> gauges ABSL_GUARDED_BY(mu);
  std::map<SeriesKey, std::unique_ptr<Histogram>> histograms ABSL_GUARDED_BY(mu);
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

Counter& Metrics::GetCounter(const std::string& name, const std::string& help,
                             const Labels& labels) {
  MutexLock lock(impl_->mu);
  auto& series = impl_->counters[{name, labels}];
  if (series == nullptr) {
    auto& family = prometheus::BuildCounter().Name(name).Help(help).Register(impl_->registry);
    series = std::make_unique<PrometheusCounter>(family.Add(labels));
  }
  return *series;
}

Gauge& Metrics::GetGauge(const std::string& name, const std::string& help, const Labels& labels) {
  MutexLock lock(impl_->mu);
  auto& series = impl_->gauges[{name, labels}];
  if (series == nullptr) {
    auto& family = prometheus::BuildGauge().Name(name).Help(help).Register(impl_->registry);
    series = std::make_unique<PrometheusGauge>(family.Add(labels));
  }
  return *series;
}

Histogram& Metrics::GetHistogram(const std::string& name, const std::string& help,
                                 const std::vector<double>& bounds, const Labels& labels) {
  MutexLock lock(impl_->mu);
  auto& series = impl_->histograms[{name, labels}];
  if (series == nullptr) {
    auto& family = prometheus::BuildHistogram().Name(name).Help(help).Register(impl_->registry);
    series = std::make_unique<PrometheusHistogram>(family.Add(labels, bounds));
  }
  return *series;
}

std::string Metrics::Render() const {
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

const std::vector<double>& LatencyBounds() {
  static const std::vector<double> kBounds = {
      0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,  0.25,  0.5,   1,     2.5,   5,
      10,    30,     60,    300,  900,   1800, 3600, 10800, 21600, 43200, 86400, 259200};
  return kBounds;
}

}  // namespace millrace::telemetry
