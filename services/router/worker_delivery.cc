// The way of one event through a worker: map, send, judge, retry or finish.
#include <algorithm>
#include <utility>

#include "libs/base/backoff.h"
#include "libs/base/failpoint.h"
#include "libs/base/hash.h"
#include "libs/base/log.h"
#include "libs/base/text.h"
#include "libs/destination/catalogue.h"
#include "services/router/masking.h"
#include "services/router/worker.h"

namespace millrace::router {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxMappingBatches = 4;
constexpr uint32_t kMaxEngineFaults = 3;
constexpr milliseconds kRetryMapper{5'000};
constexpr milliseconds kRetryEngine{1'000};
constexpr milliseconds kSampleRetries{1'000};
constexpr size_t kReasonBytes = 4'000;
constexpr size_t kStackBytes = 16'000;
// What a Kafka broker takes, with room for the key: a letter that no log takes would hold up all
// others.
constexpr size_t kLetterBytes = 980'000;

// Ids come from users' events; a header takes printable characters only.
std::string HeaderSafe(std::string_view text) {
  std::string safe(text);
  for (char& c : safe) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '_';
  }
  return safe;
}

std::string ReasonOf(const http::ClientResponse& response) {
  if (response.network_error.empty())
    return fmt::format("the destination answered {}", response.status);
  return fmt::format("{}: {}", response.error_class, response.network_error);
}

}  // namespace

void Worker::Pump() {
  for (const auto& [id, target] : targets_) {
    Map(target);
    SendReady(target);
  }
}

bool Worker::EnsureMapper(Target& target) {
  if (target.mapper != nullptr) return true;
  const MonotonicTime now = deps_.clock.Monotonic();
  if (target.definition == nullptr || now < target.make_mapper_after) return false;
  auto mapper = deps_.types.make_mapper(target.destination);
  if (!mapper.ok()) {
    log::Warning("router: destination {}: {}", target.id, Message(mapper.status()));
    target.make_mapper_after = now + kRetryMapper;
    return false;
  }
  target.mapper = *std::move(mapper);
  return true;
}

void Worker::Map(const std::shared_ptr<Target>& target) {
  while (!target->to_map.empty() && target->mapping < kMaxMappingBatches &&
         target->to_send.size() < 2 * target->max_in_flight + settings_.mapping_batch()) {
    if (!EnsureMapper(*target)) return;
    auto batch = std::make_shared<std::vector<DeliveryPtr>>();
    std::vector<destination::MapInput> inputs;
    const int64_t now_us = deps_.clock.NowMicros();
    while (!target->to_map.empty() && inputs.size() < settings_.mapping_batch()) {
      DeliveryPtr delivery = std::move(target->to_map.front());
      target->to_map.pop_front();
      if (delivery->partition->dropping) continue;
      const auto& changed = delivery->meta.changed_keys();
      inputs.push_back({Bytes(delivery->owner, delivery->event),
                        now_us,
                        delivery->meta.message_id(),
                        {changed.begin(), changed.end()}});
      batch->push_back(std::move(delivery));
    }
    if (inputs.empty()) continue;
    ++target->mapping;
    const uint64_t version = target->version;
    target->mapper->Map(std::move(inputs), [this, inbox = inbox_, target, batch,
                                            version](std::vector<destination::MapResult> results) {
      // `this` is there as long as the inbox is open.
      inbox->Post([this, target, batch, version, held = std::move(results)]() mutable {
        OnMapped(target, *batch, std::move(held), version);
      });
    });
  }
}

void Worker::OnMapped(const std::shared_ptr<Target>& target,
                      const std::vector<DeliveryPtr>& deliveries,
                      std::vector<destination::MapResult> results, uint64_t version) {
  --target->mapping;
  MR_CHECK(results.size() == deliveries.size());
  for (size_t i = 0; i < deliveries.size(); ++i) {
    if (deliveries[i]->partition->dropping) continue;
    OnMappedOne(*target, deliveries[i], results[i], version);
  }
}

void Worker::OnMappedOne(Target& target, const DeliveryPtr& delivery,
                         destination::MapResult& result, uint64_t version) {
  if (!result.error.empty()) {
    if (result.engine_fault && ++delivery->engine_faults < kMaxEngineFaults) {
      retries_.Add(deps_.clock.Monotonic() + kRetryEngine, delivery);
      return;
    }
    DeadLetter(delivery, "mapping", std::move(result.error), result.stack, nullptr);
    return;
  }
  if (result.requests.empty()) {
    Finish(delivery, delivery::v1::FILTERED, 0, "", "");
    return;
  }
  // A changed mapping may make other requests; those sent before count only if it is as many.
  if (result.requests.size() != delivery->requests.size()) delivery->next_request = 0;
  delivery->requests = std::move(result.requests);
  delivery->mapped_by = version;
  Prepare(target, *delivery);
  target.to_send.push_back(delivery);
}

void Worker::Prepare(const Target& target, Delivery& delivery) const {
  const auto& definition = *target.definition;
  const uint32_t timeout_ms = definition.limits().timeout_ms() > 0
                                  ? definition.limits().timeout_ms()
                                  : settings_.request_timeout_ms();
  for (size_t i = 0; i < delivery.requests.size(); ++i) {
    http::ClientRequest& request = delivery.requests[i];
    request.timeout = milliseconds(timeout_ms);
    request.connect_timeout = milliseconds(std::min(timeout_ms, settings_.connect_timeout_ms()));
    if (definition.idempotency_header().empty()) continue;
    std::string key = HeaderSafe(target.id + ":" + delivery.meta.message_id());
    if (i > 0) key += fmt::format(":{}", i);
    request.headers.emplace_back(definition.idempotency_header(), std::move(key));
  }
}

void Worker::SendReady(const std::shared_ptr<Target>& target) {
  const MonotonicTime now = deps_.clock.Monotonic();
  while (!target->to_send.empty() && target->in_flight < target->max_in_flight) {
    if (target->to_send.front()->partition->dropping) {
      target->to_send.pop_front();
      continue;
    }
    if (now < target->not_before || !target->bucket.Take(now)) return;
    const DeliveryPtr delivery = std::move(target->to_send.front());
    target->to_send.pop_front();
    Send(target, delivery);
  }
}

void Worker::Send(const std::shared_ptr<Target>& target, const DeliveryPtr& delivery) {
  ++target->in_flight;
  ++delivery->partition->in_flight;
  if (const Status failpoint = Failpoint("router.before_send"); !failpoint.ok()) {
    OnAnswer(delivery, {.network_error = std::string(Message(failpoint)), .error_class = "reset"});
    return;
  }
  client_->Send(delivery->requests[delivery->next_request],
                [this, delivery](const http::ClientResponse& response) {
                  if (const Status failpoint = Failpoint("router.after_send"); !failpoint.ok()) {
                    OnAnswer(delivery, {.network_error = std::string(Message(failpoint)),
                                        .error_class = "reset"});
                    return;
                  }
                  OnAnswer(delivery, response);
                });
}

void Worker::OnAnswer(const DeliveryPtr& delivery, const http::ClientResponse& response) {
  Partition& partition = *delivery->partition;
  Target& target = *partition.target;
  --target.in_flight;
  --partition.in_flight;
  if (partition.gone) return;
  ++delivery->attempts;
  switch (destination::Judge(*target.definition, response)) {
    case destination::Verdict::kDelivered:
      if (++delivery->next_request < delivery->requests.size()) {
        target.to_send.push_front(delivery);
        return;
      }
      target.latency->Observe(
          static_cast<double>(deps_.clock.NowMicros() - delivery->meta.received_at_us()) / 1e6);
      Finish(delivery, delivery::v1::DELIVERED, response.status, "", "");
      return;
    case destination::Verdict::kRetry:
      Retry(delivery, response);
      return;
    case destination::Verdict::kAbort:
      DeadLetter(delivery, "rejected", ReasonOf(response), "", &response);
      return;
  }
}

void Worker::Retry(const DeliveryPtr& delivery, const http::ClientResponse& response) {
  Target& target = *delivery->partition->target;
  const int64_t now_us = deps_.clock.NowMicros();
  const MonotonicTime now = deps_.clock.Monotonic();
  const auto age = std::chrono::microseconds(now_us - delivery->appended_at_us);
  const auto max_age = std::chrono::seconds(settings_.max_retry_age_s());
  if (age >= max_age) {
    DeadLetter(delivery, "expired",
               fmt::format("not delivered for {} s; last: {}", max_age.count(), ReasonOf(response)),
               "", &response);
    return;
  }
  milliseconds wait = BackoffDelay({.initial = milliseconds(settings_.retry_initial_ms()),
                                    .maximum = milliseconds(settings_.retry_max_ms())},
                                   delivery->attempts, FastRandom());
  const auto header = std::ranges::find(response.headers, "retry-after",
                                        &std::pair<std::string, std::string>::first);
  if (header != response.headers.end()) {
    const milliseconds asked = ParseRetryAfter(header->second, now_us);
    if (asked.count() >= 0) {
      wait = std::max(milliseconds(1), asked);
      // "Too many requests" is said to the sender, not to this event.
      if (response.status == 429) target.not_before = std::max(target.not_before, now + wait);
    }
  }
  wait = std::min(wait, std::chrono::ceil<milliseconds>(max_age - age));
  retries_.Add(now + wait, delivery);
  MetricsOf(target, delivery->meta.source_id()).retries->Increment();
  if (now - target.retry_sampled_at < kSampleRetries) return;
  target.retry_sampled_at = now;
  results_.AddRetrying(delivery->meta, response.status, delivery->attempts, now_us,
                       ReasonOf(response));
  NoteChange();
}

void Worker::Queue(const DeliveryPtr& delivery) {
  if (delivery->partition->dropping) return;
  Target& target = *delivery->partition->target;
  const bool mapped = !delivery->requests.empty() && delivery->mapped_by == target.version;
  // In front: what waits behind it came later.
  (mapped ? target.to_send : target.to_map).push_front(delivery);
}

void Worker::DeadLetter(const DeliveryPtr& delivery, const std::string& error_class,
                        std::string reason, const std::string& stack,
                        const http::ClientResponse* response) {
  const Target& target = *delivery->partition->target;
  const auto& meta = delivery->meta;
  delivery::v1::DeadLetter letter;
  // By position: a transformation may have made several events of one message.
  letter.set_id(Sha256Hex(fmt::format("router|{}|{}|{}", target.id,
                                      delivery->partition->name.partition, delivery->offset))
                    .substr(0, 32));
  letter.set_stage("router");
  letter.mutable_reason()->assign(ClipText(reason, kReasonBytes));
  letter.set_error_class(error_class);
  letter.set_workspace_id(meta.workspace_id());
  letter.set_source_id(meta.source_id());
  letter.set_destination_id(meta.destination_id());
  letter.set_message_id(meta.message_id());
  letter.set_type(meta.type());
  letter.mutable_event()->assign(delivery->event);
  letter.set_received_at_us(meta.received_at_us());
  letter.set_failed_at_us(deps_.clock.NowMicros());
  letter.set_attempts(delivery->attempts);
  letter.mutable_stack()->assign(ClipText(stack, kStackBytes));
  letter.mutable_user_key()->assign(delivery->key);
  *letter.mutable_delivery() = meta;
  int http_status = 0;
  if (response != nullptr) {
    http_status = response->status;
    *letter.mutable_last_exchange() =
        MaskedExchange(delivery->requests[delivery->next_request], *response, target.secrets);
  }
  if (letter.ByteSizeLong() > kLetterBytes) letter.clear_last_exchange();
  results_.AddDeadLetter(delivery->key, letter);
  Finish(delivery, delivery::v1::DEAD_LETTERED, http_status, reason, error_class);
}

void Worker::Finish(const DeliveryPtr& delivery, delivery::v1::Outcome outcome, int http_status,
                    std::string_view reason, std::string_view error_class) {
  Partition& partition = *delivery->partition;
  Target& target = *partition.target;
  results_.AddFinal(delivery->meta, outcome, http_status, delivery->attempts,
                    deps_.clock.NowMicros(), reason, error_class);
  auto& metrics = MetricsOf(target, delivery->meta.source_id());
  (outcome == delivery::v1::DELIVERED  ? metrics.delivered
   : outcome == delivery::v1::FILTERED ? metrics.filtered
                                       : metrics.dead_lettered)
      ->Increment();
  partition.tracker.Finish(delivery->ticket);
  NoteChange();
  if (delivery->ordered) {
    Delivery* next = partition.window.Finish(delivery.get());
    if (next != nullptr) target.to_map.push_back(partition.deliveries.at(next->ticket));
  }
  partition.bytes -= delivery->key.size() + delivery->event.size();
  --target.window;
  partition.deliveries.erase(delivery->ticket);
}

Target::SourceMetrics& Worker::MetricsOf(Target& target, const std::string& source_id) {
  auto [it, is_new] = target.metrics.try_emplace(source_id);
  if (!is_new) return it->second;
  const auto events = [&](const char* outcome) {
    return &deps_.metrics.GetCounter(
        "millrace_router_events_total", "Events by what became of them.",
        {{"destination", target.id}, {"source", source_id}, {"outcome", outcome}});
  };
  it->second = {events("delivered"), events("filtered"), events("dead_lettered"),
                &deps_.metrics.GetCounter("millrace_router_retries_total", "Attempts that failed.",
                                          {{"destination", target.id}, {"source", source_id}})};
  return it->second;
}

}  // namespace millrace::router
