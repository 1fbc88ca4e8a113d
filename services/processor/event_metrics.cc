#include "services/processor/event_metrics.h"

#include <algorithm>
#include <string>

#include "libs/base/clock.h"
#include "libs/base/log.h"

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
  for (const auto& [key, count] : outputs.counts()) {
    if (std::get<accounting::v1::Fate>(key) == accounting::v1::LOST_RECORD) continue;  // a gauge
    FateOf(key).Add(static_cast<double>(count));
  }
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

void EventMetrics::SetWorkspace(const config::v1::Workspace& workspace) {
  StringSet known{""};
  for (const auto& source : workspace.sources()) known.insert(source.id());
  for (const auto& destination : workspace.destinations()) known.insert(destination.id());
  absl::erase_if(delays_, [&](const auto& entry) {
    if (known.contains(entry.first)) return false;
    metrics_.Remove({{"source", entry.first}});
    return true;
  });
  std::erase_if(fates_, [&](const auto& entry) {
    const auto& [source, destination, fate, reason] = entry.first;
    if (!known.contains(source)) metrics_.Remove({{"source", source}});
    if (!known.contains(destination)) metrics_.Remove({{"destination", destination}});
    return !known.contains(source) || !known.contains(destination);
  });
}

void EventMetrics::ShowLost(int32_t partition, const GatewayNumbers& numbers) {
  metrics_
      .GetGauge("millrace_processor_lost_records",
                "Records that gateways appended and had acknowledged, and that are not in the log.",
                {{"partition", std::to_string(partition)}})
      .Set(static_cast<double>(numbers.lost()));
}

void EventMetrics::Lost(int32_t partition, const GatewayNumbers& before,
                        const GatewayNumbers& now) {
  if (now.lost() == before.lost()) return;
  ShowLost(partition, now);
  for (const auto& gateway : now.gateways()) {
    if (gateway.lost() == 0) continue;
    const bool told = std::ranges::any_of(before.gateways(), [&gateway](const auto& one) {
      return one.name == gateway.name && one.started_at_us == gateway.started_at_us &&
             one.lost() > 0;
    });
    if (told) continue;
    log::Error(
        "partition {} of ingest: of gateway '{}', started {}, {} records before number {} are not "
        "in the log; they may come yet out of its spill, else they are lost",
        partition, gateway.name, FormatRfc3339Millis(gateway.started_at_us), gateway.lost(),
        gateway.highest);
  }
}

}  // namespace millrace::processor
