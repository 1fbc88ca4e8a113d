#include "libs/telemetry/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <list>
#include <sstream>
#include <utility>

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/telemetry/series.h"

namespace millrace::telemetry {
namespace {

constexpr const char* kOverflowed = "millrace_metrics_overflowed_series_total";

// All series of one name.
struct Family {
  enum class Kind { kCounter, kGauge, kHistogram };
  Kind kind = Kind::kCounter;
  std::string help;
  std::vector<double> bounds;  // of a histogram's buckets
  std::map<Labels, std::unique_ptr<Series>> series;
};

prometheus::MetricType TypeOf(Family::Kind kind) {
  switch (kind) {
    case Family::Kind::kCounter:
      return prometheus::MetricType::Counter;
    case Family::Kind::kGauge:
      return prometheus::MetricType::Gauge;
    case Family::Kind::kHistogram:
      return prometheus::MetricType::Histogram;
  }
  return prometheus::MetricType::Untyped;
}

std::unique_ptr<Series> NewSeries(const Family& family) {
  switch (family.kind) {
    case Family::Kind::kCounter:
      return std::make_unique<CounterSeries>();
    case Family::Kind::kGauge:
      return std::make_unique<GaugeSeries>();
    case Family::Kind::kHistogram:
      break;
  }
  return std::make_unique<HistogramSeries>(family.bounds);
}

bool HasAll(const Labels& labels, const Labels& match) {
  return std::ranges::all_of(match, [&labels](const auto& pair) {
    const auto found = labels.find(pair.first);
    return found != labels.end() && found->second == pair.second;
  });
}

prometheus::MetricFamily Collect(const std::string& name, const Family& family) {
  prometheus::MetricFamily collected{
      .name = name, .help = family.help, .type = TypeOf(family.kind), .metric = {}};
  for (const auto& [labels, series] : family.series) {
    prometheus::ClientMetric& metric = collected.metric.emplace_back(series->Collect());
    for (const auto& [label, value] : labels) metric.label.push_back({label, value});
  }
  return collected;
}

}  // namespace

struct Metrics::Impl {
  explicit Impl(size_t max_series) : max_series_per_name(max_series) {}

  Series& Get(Family::Kind kind, const std::string& name, const std::string& help,
              const std::vector<double>& bounds, const Labels& labels) {
    MutexLock lock(mu);
    const auto [found, is_new] = families.try_emplace(name);
    Family& family = found->second;
    if (is_new) family = {.kind = kind, .help = help, .bounds = bounds, .series = {}};
    MR_CHECK(family.kind == kind);
    if (const auto known = family.series.find(labels); known != family.series.end()) {
      return *known->second;
    }
    const bool overflows = family.series.size() >= max_series_per_name;
    if (overflows) {
      auto& count = families[kOverflowed];
      if (count.series.empty()) {
        count.help = "Series that share one with others, as their name has too many.";
        count.series[{}] = NewSeries(count);
      }
      static_cast<CounterSeries&>(*count.series[{}]).Add(1);
    }
    auto& series = family.series[overflows ? Labels{{"overflow", "true"}} : labels];
    if (series == nullptr) series = NewSeries(family);
    return *series;
  }

  // One family at a time: whoever asks for a series meanwhile does not wait for all of them.
  void RenderFamilies(std::ostream& out) const {
    auto at = [this] {
      MutexLock lock(mu);
      return families.begin();
    }();
    while (true) {
      prometheus::MetricFamily collected;
      {
        MutexLock lock(mu);
        if (at == families.end()) return;
        const auto& [name, family] = *at++;
        if (family.series.empty()) continue;
        collected = Collect(name, family);
      }
      prometheus::TextSerializer().Serialize(out, {std::move(collected)});
    }
  }

  const size_t max_series_per_name;
  mutable Mutex mu;
  // Nodes stay where they are: a family is never removed.
  std::map<std::string, Family> families ABSL_GUARDED_BY(mu);
  // What handles may still point to: without labels, so small.
  std::vector<std::unique_ptr<Series>> removed ABSL_GUARDED_BY(mu);
  mutable Mutex collect_mu;
  std::list<std::weak_ptr<std::function<void()>>> collectors ABSL_GUARDED_BY(collect_mu);
};

Metrics::Metrics(size_t max_series_per_name) : impl_(std::make_unique<Impl>(max_series_per_name)) {}
Metrics::~Metrics() = default;

Counter& Metrics::GetCounter(const std::string& name, const std::string& help,
                             const Labels& labels) {
  return static_cast<CounterSeries&>(impl_->Get(Family::Kind::kCounter, name, help, {}, labels));
}

Gauge& Metrics::GetGauge(const std::string& name, const std::string& help, const Labels& labels) {
  return static_cast<GaugeSeries&>(impl_->Get(Family::Kind::kGauge, name, help, {}, labels));
}

Histogram& Metrics::GetHistogram(const std::string& name, const std::string& help,
                                 const std::vector<double>& bounds, const Labels& labels) {
  return static_cast<HistogramSeries&>(
      impl_->Get(Family::Kind::kHistogram, name, help, bounds, labels));
}

size_t Metrics::Remove(const Labels& match) {
  if (match.empty()) return 0;
  MutexLock lock(impl_->mu);
  size_t count = 0;
  for (auto& [name, family] : impl_->families) {
    for (auto one = family.series.begin(); one != family.series.end();) {
      if (!HasAll(one->first, match)) {
        ++one;
        continue;
      }
      impl_->removed.push_back(std::move(one->second));
      one = family.series.erase(one);
      ++count;
    }
  }
  return count;
}

std::shared_ptr<void> Metrics::OnRender(std::function<void()> collect) {
  auto kept = std::make_shared<std::function<void()>>(std::move(collect));
  MutexLock lock(impl_->collect_mu);
  impl_->collectors.push_back(kept);
  return kept;
}

std::string Metrics::Render() const {
  {
    MutexLock lock(impl_->collect_mu);
    auto& collectors = impl_->collectors;
    for (auto one = collectors.begin(); one != collectors.end();) {
      if (const auto collect = one->lock()) {
        (*collect)();
        ++one;
      } else {
        one = collectors.erase(one);
      }
    }
  }
  std::ostringstream text;
  impl_->RenderFamilies(text);
  return std::move(text).str();
}

const std::vector<double>& LatencyBounds() {
  static const std::vector<double> kBounds = {
      0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,  0.25,  0.5,   1,     2.5,   5,
      10,    30,     60,    300,  900,   1800, 3600, 10800, 21600, 43200, 86400, 259200};
  return kBounds;
}

}  // namespace millrace::telemetry
