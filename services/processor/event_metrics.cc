#include "services/processor/event_metrics.h"

#include <chrono>

namespace millrace::processor {
namespace {

/// Bytes, from 1 KiB to 1 GiB.
const std::vector<double>& SizeBounds() {
  static const std::vector<double> bounds = [] {
    std::vector<double> powers;
    for (double bytes = 1024; bytes <= 1024.0 * 1024 * 1024; bytes *= 4) powers.push_back(bytes);
    return powers;
  }();
  return bounds;
}

}  // namespace

void EventMetrics::Begin(const EventBatch& batch) {
  begun_.clear();
  begun_.reserve(batch.events.size());
  for (const Event& event : batch.events) {
    if (event.state == EventState::kDeadLettered || event.extra) continue;
    telemetry::Histogram*& delay = delays_[event.meta.source_id()];
    if (delay == nullptr) {
      delay =
          &metrics_.GetHistogram("millrace_processor_event_delay_seconds",
                                 "From an event's originalTimestamp to its arrival.",
                                 telemetry::LatencyBounds(), {{"source", event.meta.source_id()}});
    }
    begun_.emplace_back(
        delay, static_cast<double>(event.meta.received_at_us() - event.original_at_us) / 1e6);
  }
}

telemetry::Counter& EventMetrics::FateOf(const Outputs::CountKey& key) {
  const auto& [source, destination, fate, reason] = key;
  telemetry::Counter*& counter = fates_[{source, destination, fate, ""}];
  if (counter == nullptr) {
    counter =
        &metrics_.GetCounter("millrace_processor_events_total", "Events by what became of them.",
                             {{"source", source},
                              {"destination", destination},
                              {"fate", accounting::v1::Fate_Name(fate)}});
  }
  return *counter;
}

void EventMetrics::Committed(const Outputs& outputs, std::chrono::duration<double> took) {
  for (const auto& [histogram, seconds] : begun_) histogram->Observe(seconds);
  begun_.clear();
  for (const auto& [key, count] : outputs.counts()) FateOf(key).Add(static_cast<double>(count));
  if (outputs.bad_integrations() > 0) {
    metrics_
        .GetCounter(
            "millrace_processor_bad_integrations_total",
            "Events whose integrations object has an `All` that is no boolean; taken as true.")
        .Add(static_cast<double>(outputs.bad_integrations()));
  }
  metrics_
      .GetHistogram("millrace_processor_batch_seconds",
                    "From the beginning of a transaction's work to its commit.",
                    telemetry::LatencyBounds())
      .Observe(took.count());
  metrics_
      .GetHistogram("millrace_processor_transaction_bytes",
                    "Bytes of the records of one transaction.", SizeBounds())
      .Observe(static_cast<double>(outputs.bytes()));
}

}  // namespace millrace::processor
