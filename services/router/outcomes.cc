#include "services/router/outcomes.h"

#include "libs/base/hash.h"
#include "libs/base/text.h"
#include "services/router/masking.h"
#include "services/router/partition_window.h"
#include "services/router/target.h"

namespace millrace::router {
namespace {

constexpr std::chrono::milliseconds kSampleRetries{1'000};
constexpr size_t kReasonBytes = 4'000;
constexpr size_t kStackBytes = 16'000;
// What a Kafka broker takes, with room for the key: a letter that no log takes would hold up all
// others.
constexpr size_t kLetterBytes = 980'000;

}  // namespace

void Outcomes::OnEnd(const Delivery& delivery, const Ending& ending) {
  const bool dead = ending.outcome == delivery::v1::DEAD_LETTERED;
  if (dead) AddDeadLetter(delivery, ending);
  const int http_status = ending.answer == nullptr ? 0 : ending.answer->status;
  const int64_t now_us = clock_.NowMicros();
  results_.AddFinal(delivery.meta, ending.outcome, http_status, delivery.attempts, now_us,
                    ending.reason, ending.error_class);
  SourceSeries& series = SeriesOf(delivery);
  (ending.outcome == delivery::v1::DELIVERED  ? series.delivered
   : ending.outcome == delivery::v1::FILTERED ? series.filtered
                                              : series.dead_lettered)
      ->Increment();
  if (ending.outcome == delivery::v1::DELIVERED) {
    SeriesOf(delivery.window->target().id)
        .latency->Observe(static_cast<double>(now_us - delivery.meta.received_at_us()) / 1e6);
  }
}

void Outcomes::OnFailure(const Delivery& delivery, const destination::Answer& answer) {
  SeriesOf(delivery).retries->Increment();
  MonotonicTime& sampled_at = SeriesOf(delivery.window->target().id).retry_sampled_at;
  const MonotonicTime now = clock_.Monotonic();
  if (now - sampled_at < kSampleRetries) return;
  sampled_at = now;
  results_.AddRetrying(delivery.meta, answer.status, delivery.attempts, clock_.NowMicros(),
                       ReasonOf(answer));
}

void Outcomes::AddDeadLetter(const Delivery& delivery, const Ending& ending) {
  const Target& target = delivery.window->target();
  const auto& meta = delivery.meta;
  delivery::v1::DeadLetter letter;
  // By position: a transformation may have made several events of one message.
  letter.set_id(
      Sha256Hex(fmt::format("router{}|{}|{}|{}", delivery.parked ? "|parking" : "", target.id,
                            delivery.window->name().partition, delivery.offset))
          .substr(0, 32));
  letter.set_stage("router");
  letter.mutable_reason()->assign(ClipText(ending.reason, kReasonBytes));
  letter.set_error_class(ending.error_class);
  letter.set_workspace_id(meta.workspace_id());
  letter.set_source_id(meta.source_id());
  letter.set_destination_id(meta.destination_id());
  letter.set_message_id(meta.message_id());
  letter.set_type(meta.type());
  letter.mutable_event()->assign(delivery.event);
  letter.set_received_at_us(meta.received_at_us());
  letter.set_failed_at_us(clock_.NowMicros());
  letter.set_attempts(delivery.attempts);
  letter.mutable_stack()->assign(ClipText(ending.stack, kStackBytes));
  letter.mutable_user_key()->assign(delivery.key);
  *letter.mutable_delivery() = meta;
  if (ending.answer != nullptr) {
    *letter.mutable_last_exchange() =
        MaskedExchange(delivery.requests[delivery.next_request], *ending.answer, target.mask);
  }
  if (letter.ByteSizeLong() > kLetterBytes) letter.clear_last_exchange();
  dead_letter_bytes_ += letter.ByteSizeLong();
  results_.AddDeadLetter(delivery.key, letter);
}

Outcomes::Series& Outcomes::SeriesOf(const std::string& destination_id) {
  Series& series = series_[destination_id];
  if (series.latency == nullptr) {
    series.latency = &metrics_.GetHistogram(
        "millrace_router_delivery_seconds", "Time from received to delivered, in seconds.",
        telemetry::LatencyBounds(), {{"destination", destination_id}});
  }
  return series;
}

Outcomes::SourceSeries& Outcomes::SeriesOf(const Delivery& delivery) {
  const std::string& destination_id = delivery.window->target().id;
  const std::string& source_id = delivery.meta.source_id();
  auto [it, is_new] = SeriesOf(destination_id).sources.try_emplace(source_id);
  if (!is_new) return it->second;
  const auto events = [&](const char* outcome) {
    return &metrics_.GetCounter(
        "millrace_router_events_total", "Events by what became of them.",
        {{"destination", destination_id}, {"source", source_id}, {"outcome", outcome}});
  };
  it->second = {events("delivered"), events("filtered"), events("dead_lettered"),
                &metrics_.GetCounter("millrace_router_retries_total", "Attempts that failed.",
                                     {{"destination", destination_id}, {"source", source_id}})};
  return it->second;
}

}  // namespace millrace::router
