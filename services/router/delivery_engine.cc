#include "services/router/delivery_engine.h"

#include <algorithm>

#include "libs/base/backoff.h"
#include "libs/base/failpoint.h"
#include "libs/base/log.h"
#include "libs/destination/catalogue.h"
#include "services/router/partition_window.h"

namespace millrace::router {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxMappingBatches = 4;
constexpr uint32_t kMaxEngineFaults = 3;
constexpr milliseconds kRetryMapper{5'000};
constexpr milliseconds kRetryEngine{1'000};

// Ids come from users' events; a header takes printable characters only.
std::string HeaderSafe(std::string_view text) {
  std::string safe(text);
  for (char& c : safe) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '_';
  }
  return safe;
}

void Remove(const PartitionWindow& window, std::deque<DeliveryPtr>* queue) {
  std::erase_if(*queue, [&](const auto& delivery) { return delivery->window.get() == &window; });
}

}  // namespace

std::string ReasonOf(const destination::Answer& answer) {
  if (answer.network_error.empty())
    return fmt::format("the destination answered {}", answer.status);
  return fmt::format("{}: {}", answer.error_class, answer.network_error);
}

DeliveryEngine::DeliveryEngine(EngineOptions options, Clock& clock, delivery::Transport& transport,
                               std::shared_ptr<Inbox> inbox, MakeMapper make_mapper,
                               EngineListener& listener)
    : options_(options),
      clock_(clock),
      transport_(transport),
      inbox_(std::move(inbox)),
      make_mapper_(std::move(make_mapper)),
      listener_(listener) {}

void DeliveryEngine::Start(const DeliveryPtr& delivery) {
  if (delivery->window->dropping) return;
  Target& target = delivery->window->target();
  target.to_map.push_back(delivery);
  SetReady(target);
}

void DeliveryEngine::OnChanged(Target& target) {
  target.mapper = nullptr;
  target.make_mapper_after = {};
  ++target.version;
  SetReady(target);
}

void DeliveryEngine::Forget(const PartitionWindow& window) {
  Target& target = window.target();
  Remove(window, &target.to_map);
  Remove(window, &target.to_send);
  for (auto it = target.retries.begin(); it != target.retries.end();) {
    if (it->second->window.get() != &window) {
      ++it;
      continue;
    }
    it->second->waits_for_retry = false;
    it = target.retries.erase(it);
  }
  SetReady(target);
}

void DeliveryEngine::Forget(Target& target) {
  std::erase(ready_, &target);
  if (target.wakes_at) timers_.erase({*target.wakes_at, &target});
}

void DeliveryEngine::SetReady(Target& target) {
  if (std::exchange(target.ready, true)) return;
  ready_.push_back(&target);
}

void DeliveryEngine::Turn(MonotonicTime now) {
  while (!timers_.empty() && timers_.begin()->first <= now) {
    Target& target = *timers_.begin()->second;
    timers_.erase(timers_.begin());
    target.wakes_at.reset();
    SetReady(target);
  }
  // What becomes ready meanwhile has its turn in the next round, after the answers that are there.
  std::vector<Target*> ready = std::exchange(ready_, {});
  for (Target* target : ready) {
    target->ready = false;
    Work(*target, now);
  }
}

MonotonicTime DeliveryEngine::next() const {
  if (!ready_.empty()) return MonotonicTime::min();
  return timers_.empty() ? MonotonicTime::max() : timers_.begin()->first;
}

void DeliveryEngine::Work(Target& target, MonotonicTime now) {
  TakeDue(target, now);
  Map(target, now);
  SendReady(target, now);
  Map(target, now);  // as far as sending made room
  SetTimer(target, now);
}

void DeliveryEngine::TakeDue(Target& target, MonotonicTime now) {
  while (!target.retries.empty() && target.retries.begin()->first <= now) {
    const DeliveryPtr delivery = std::move(target.retries.begin()->second);
    target.retries.erase(target.retries.begin());
    delivery->waits_for_retry = false;
    Queue(delivery);
  }
}

void DeliveryEngine::SetTimer(Target& target, MonotonicTime now) {
  MonotonicTime at = MonotonicTime::max();
  if (!target.retries.empty()) at = target.retries.begin()->first;
  if (!target.to_send.empty() && target.in_flight < target.max_in_flight) {
    at = std::min(at, std::max(target.not_before, target.bucket.Next(now)));
  }
  if (!target.to_map.empty() && target.mapper == nullptr) {
    at = std::min(at, target.make_mapper_after);
  }
  if (target.wakes_at == at) return;
  if (target.wakes_at) timers_.erase({*target.wakes_at, &target});
  target.wakes_at.reset();
  if (at == MonotonicTime::max()) return;
  timers_.emplace(at, &target);
  target.wakes_at = at;
}

bool DeliveryEngine::EnsureMapper(Target& target, MonotonicTime now) {
  if (target.mapper != nullptr) return true;
  if (target.definition == nullptr || now < target.make_mapper_after) return false;
  auto mapper = make_mapper_(target.destination);
  if (!mapper.ok()) {
    log::Warning("router: destination {}: {}", target.id, Message(mapper.status()));
    target.make_mapper_after = now + kRetryMapper;
    return false;
  }
  target.mapper = *std::move(mapper);
  return true;
}

void DeliveryEngine::Map(Target& target, MonotonicTime now) {
  while (!target.to_map.empty() && target.mapping < kMaxMappingBatches &&
         target.to_send.size() < 2 * target.max_in_flight + options_.mapping_batch) {
    if (!EnsureMapper(target, now)) return;
    std::vector<DeliveryPtr> batch;
    std::vector<destination::MapInput> inputs;
    const int64_t now_us = clock_.NowMicros();
    while (!target.to_map.empty() && inputs.size() < options_.mapping_batch) {
      DeliveryPtr delivery = std::move(target.to_map.front());
      target.to_map.pop_front();
      const auto& changed = delivery->meta.changed_keys();
      inputs.push_back({Bytes(delivery, delivery->event),
                        now_us,
                        delivery->meta.message_id(),
                        {changed.begin(), changed.end()}});
      batch.push_back(std::move(delivery));
    }
    ++target.mapping;
    target.mapper->Map(
        std::move(inputs), [this, inbox = inbox_, &target, batch = std::move(batch),
                            version = target.version](std::vector<destination::MapResult> results) {
          // `this` is there as long as the inbox is open, and the target while a batch of it is at
          // the mapper.
          inbox->Post([this, &target, batch, version, held = std::move(results)]() mutable {
            OnMapped(target, batch, std::move(held), version);
          });
        });
  }
}

void DeliveryEngine::OnMapped(Target& target, const std::vector<DeliveryPtr>& deliveries,
                              std::vector<destination::MapResult> results, uint64_t version) {
  --target.mapping;
  SetReady(target);
  MR_CHECK(results.size() == deliveries.size());
  for (size_t i = 0; i < deliveries.size(); ++i) {
    if (deliveries[i]->window->dropping) continue;
    OnMappedOne(target, deliveries[i], results[i], version);
  }
}

void DeliveryEngine::OnMappedOne(Target& target, const DeliveryPtr& delivery,
                                 destination::MapResult& result, uint64_t version) {
  if (!result.error.empty()) {
    if (result.engine_fault && ++delivery->engine_faults < kMaxEngineFaults) {
      TryAgainAt(delivery, clock_.Monotonic() + kRetryEngine);
      return;
    }
    listener_.OnEnd(delivery, {.outcome = delivery::v1::DEAD_LETTERED,
                               .error_class = "mapping",
                               .reason = std::move(result.error),
                               .stack = std::move(result.stack)});
    return;
  }
  if (result.requests.empty()) {
    listener_.OnEnd(delivery, {.outcome = delivery::v1::FILTERED});
    return;
  }
  // A changed mapping may make other requests; those sent before count only if it is as many.
  if (result.requests.size() != delivery->requests.size()) delivery->next_request = 0;
  delivery->requests = std::move(result.requests);
  delivery->mapped_by = version;
  Prepare(target, *delivery);
  target.to_send.push_back(delivery);
}

void DeliveryEngine::Prepare(const Target& target, Delivery& delivery) const {
  const auto& definition = *target.definition;
  const uint32_t timeout_ms = definition.limits().timeout_ms() > 0
                                  ? definition.limits().timeout_ms()
                                  : options_.request_timeout_ms;
  for (size_t i = 0; i < delivery.requests.size(); ++i) {
    destination::Prepared& request = delivery.requests[i];
    request.timeout = milliseconds(timeout_ms);
    request.connect_timeout = milliseconds(std::min(timeout_ms, options_.connect_timeout_ms));
    if (definition.idempotency_header().empty()) continue;
    std::string key = HeaderSafe(target.id + ":" + delivery.meta.message_id());
    if (i > 0) key += fmt::format(":{}", i);
    request.headers.emplace_back(definition.idempotency_header(), std::move(key));
  }
}

void DeliveryEngine::SendReady(Target& target, MonotonicTime now) {
  while (!target.to_send.empty() && target.in_flight < target.max_in_flight) {
    if (now < target.not_before || !target.bucket.Take(now)) return;
    const DeliveryPtr delivery = std::move(target.to_send.front());
    target.to_send.pop_front();
    Send(target, delivery);
  }
}

void DeliveryEngine::Send(Target& target, const DeliveryPtr& delivery) {
  ++target.in_flight;
  ++delivery->window->in_flight;
  if (const Status failpoint = Failpoint("router.before_send"); !failpoint.ok()) {
    OnAnswer(delivery, {.network_error = std::string(Message(failpoint)), .error_class = "reset"});
    return;
  }
  transport_.Send(delivery->requests[delivery->next_request],
                  [this, delivery](const destination::Answer& answer) {
                    if (const Status failpoint = Failpoint("router.after_send"); !failpoint.ok()) {
                      OnAnswer(delivery, {.network_error = std::string(Message(failpoint)),
                                          .error_class = "reset"});
                      return;
                    }
                    OnAnswer(delivery, answer);
                  });
}

void DeliveryEngine::OnAnswer(const DeliveryPtr& delivery, const destination::Answer& answer) {
  PartitionWindow& window = *delivery->window;
  Target& target = window.target();
  --target.in_flight;
  --window.in_flight;
  SetReady(target);
  if (window.gone) return;
  ++delivery->attempts;
  switch (destination::Judge(*target.definition, answer)) {
    case destination::Verdict::kDelivered:
      OnDelivered(target, delivery, answer);
      return;
    case destination::Verdict::kRetry:
      Retry(delivery, answer);
      return;
    case destination::Verdict::kAbort:
      listener_.OnEnd(delivery, {.outcome = delivery::v1::DEAD_LETTERED,
                                 .error_class = "rejected",
                                 .reason = ReasonOf(answer),
                                 .answer = &answer});
      return;
  }
}

void DeliveryEngine::OnDelivered(Target& target, const DeliveryPtr& delivery,
                                 const destination::Answer& answer) {
  if (++delivery->next_request == delivery->requests.size()) {
    listener_.OnEnd(delivery, {.outcome = delivery::v1::DELIVERED, .answer = &answer});
  } else if (!delivery->window->dropping) {
    target.to_send.push_front(delivery);
  }
}

void DeliveryEngine::Retry(const DeliveryPtr& delivery, const destination::Answer& answer) {
  Target& target = delivery->window->target();
  const int64_t now_us = clock_.NowMicros();
  const MonotonicTime now = clock_.Monotonic();
  const auto age = std::chrono::microseconds(now_us - delivery->appended_at_us);
  const auto max_age = std::chrono::seconds(options_.max_retry_age_s);
  if (age >= max_age) {
    listener_.OnEnd(delivery, {.outcome = delivery::v1::DEAD_LETTERED,
                               .error_class = "expired",
                               .reason = fmt::format("not delivered for {} s; last: {}",
                                                     max_age.count(), ReasonOf(answer)),
                               .answer = &answer});
    return;
  }
  milliseconds wait =
      BackoffDelay({.initial = options_.retry_initial, .maximum = options_.retry_max},
                   delivery->attempts, FastRandom());
  const auto header =
      std::ranges::find(answer.headers, "retry-after", &std::pair<std::string, std::string>::first);
  if (header != answer.headers.end()) {
    const milliseconds asked = ParseRetryAfter(header->second, now_us);
    if (asked.count() >= 0) {
      wait = std::max(milliseconds(1), asked);
      // "Too many requests" is said to the sender, not to this event.
      if (answer.status == 429) target.not_before = std::max(target.not_before, now + wait);
    }
  }
  TryAgainAt(delivery, now + std::min(wait, std::chrono::ceil<milliseconds>(max_age - age)));
  listener_.OnFailure(delivery, answer);
}

void DeliveryEngine::TryAgainAt(const DeliveryPtr& delivery, MonotonicTime at) {
  if (delivery->window->dropping) return;
  Target& target = delivery->window->target();
  delivery->retry = target.retries.emplace(at, delivery);
  delivery->waits_for_retry = true;
  SetReady(target);
}

void DeliveryEngine::Queue(const DeliveryPtr& delivery) {
  Target& target = delivery->window->target();
  const bool mapped = !delivery->requests.empty() && delivery->mapped_by == target.version;
  // In front: what waits behind it came later.
  (mapped ? target.to_send : target.to_map).push_front(delivery);
}

}  // namespace millrace::router
