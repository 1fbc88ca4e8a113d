#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/string_map.h"
#include "libs/telemetry/metrics.h"
#include "services/router/delivery.h"
#include "services/router/delivery_engine.h"
#include "services/router/results.h"

namespace millrace::router {

/// Turns what became of deliveries into records (statuses, counts, dead letters) and metrics.
///
/// Owned by a worker, used by its thread only. Clock and metrics outlive it.
class Outcomes {
 public:
  Outcomes(Clock& clock, telemetry::Metrics& metrics) : clock_(clock), metrics_(metrics) {}

  void OnEnd(const Delivery& delivery, const Ending& ending);
  void OnFailure(const Delivery& delivery, const destination::Answer& answer);
  /// The destination is no longer configured.
  void Forget(const std::string& destination_id) { series_.erase(destination_id); }

  size_t finished() const { return results_.finished(); }
  size_t dead_letter_bytes() const { return dead_letter_bytes_; }
  std::vector<OwnedRecord> Take() {
    dead_letter_bytes_ = 0;
    return results_.Take(clock_.NowMicros());
  }

 private:
  struct SourceSeries {
    telemetry::Counter* delivered = nullptr;
    telemetry::Counter* filtered = nullptr;
    telemetry::Counter* dead_lettered = nullptr;
    telemetry::Counter* retries = nullptr;
  };
  struct Series {
    telemetry::Histogram* latency = nullptr;
    StringMap<SourceSeries> sources;
    MonotonicTime retry_sampled_at{};
  };

  Series& SeriesOf(const std::string& destination_id);
  SourceSeries& SeriesOf(const Delivery& delivery);
  void AddDeadLetter(const Delivery& delivery, const Ending& ending);

  Clock& clock_;
  telemetry::Metrics& metrics_;
  Results results_;
  size_t dead_letter_bytes_ = 0;  // that were not taken yet
  StringMap<Series> series_;      // by destination
};

}  // namespace millrace::router
