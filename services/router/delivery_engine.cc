#include "services/router/delivery_engine.h"

#include <algorithm>

#include "libs/base/log.h"
#include "services/router/partition_window.h"

namespace millrace::router {
namespace {

using std::chrono::milliseconds;
using Stage = Delivery::Stage;

constexpr size_t kMaxMappingBatches = 4;
constexpr uint32_t kMaxEngineFaults = 3;
constexpr milliseconds kRetryMapper{5'000};
constexpr milliseconds kRetryEngine{1'000};
// How soon to look again for room that other workers take.
constexpr milliseconds kLookForRoom{5};

// Ids come from users' events; a header takes printable characters only.
std::string HeaderSafe(std::string_view text) {
  std::string safe(text);
  for (char& c : safe) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '_';
  }
  return safe;
}

size_t BytesOf(const std::vector<destination::Prepared>& requests) {
  size_t bytes = 0;
  for (const auto& request : requests) {
    bytes += sizeof(request) + request.url.size() + request.body.size();
    for (const auto& [name, value] : request.headers) bytes += name.size() + value.size();
  }
  return bytes;
}

}  // namespace

DeliveryEngine::DeliveryEngine(EngineOptions options, Clock& clock, delivery::Transport& transport,
                               std::shared_ptr<Inbox> inbox, MakeMapper make_mapper,
                               EngineListener& listener)
    : options_(options),
      clock_(clock),
      transport_(transport),
      inbox_(std::move(inbox)),
      make_mapper_(std::move(make_mapper)),
      listener_(listener) {}

void DeliveryEngine::StartAt(const DeliveryPtr& delivery, MonotonicTime at) {
  if (delivery->window->dropping) return;
  if (at > clock_.Monotonic()) return Wait(delivery, at);
  Queue(delivery);
  SetReady(delivery->window->target());
}

void DeliveryEngine::Withdraw(const DeliveryPtr& delivery) {
  Target& target = delivery->window->target();
  if (delivery->stage == Stage::kWaiting) target.retries.erase(delivery->retry);
  if (delivery->stage == Stage::kQueued) {
    Target::Queue& queue = target.queue(*delivery);
    for (auto* list : {&queue.to_map, &queue.to_send, &queue.again}) {
      const auto it = std::ranges::find(*list, delivery);
      if (it != list->end()) list->erase(it);
    }
  }
  delivery->stage = Stage::kIdle;
}

void DeliveryEngine::OnChanged(Target& target) {
  target.mapper = nullptr;
  target.make_mapper_after = {};
  ++target.version;
  target.shared->circuit.Reset();
  target.shared->ClearHold();
  MakeAllDue(target);
}

void DeliveryEngine::OnCircuit(Target& target) {
  if (!target.shared->circuit.open()) MakeAllDue(target);
  SetReady(target);
}

void DeliveryEngine::Forget(const PartitionWindow& window) {
  Target& target = window.target();
  const auto is_of_window = [&](const auto& delivery) { return delivery->window.get() == &window; };
  for (Target::Queue* queue : {&target.fresh, &target.parked}) {
    std::erase_if(queue->to_map, is_of_window);
    std::erase_if(queue->to_send, is_of_window);
    std::erase_if(queue->again, is_of_window);
  }
  std::erase_if(target.retries, [&](const auto& entry) { return is_of_window(entry.second); });
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
  const std::vector<Target*> ready = std::exchange(ready_, {});
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
  if (!target.holds()) {
    const bool open = target.shared->circuit.open();
    if (!open) TakeDue(target, now);
    for (int round = 0; round < 2; ++round) {  // the second as far as sending made room
      Map(target, target.fresh, now);
      Map(target, target.parked, now);
      if (round > 0) break;
      open ? Probe(target, now) : SendReady(target, now);
    }
  }
  SetTimer(target, now);
}

void DeliveryEngine::TakeDue(Target& target, MonotonicTime now) {
  while (!target.retries.empty() && target.retries.begin()->first <= now) {
    const DeliveryPtr delivery = std::move(target.retries.begin()->second);
    target.retries.erase(target.retries.begin());
    Queue(delivery);
  }
}

void DeliveryEngine::MakeAllDue(Target& target) {
  const RetryQueue retries = std::exchange(target.retries, {});
  for (const auto& [at, delivery] : retries) {
    delivery->forgiven_attempts = delivery->attempts;
    Queue(delivery);
  }
  SetReady(target);
}

void DeliveryEngine::SetTimer(Target& target, MonotonicTime now) {
  const MonotonicTime at = NextTime(target, now);
  if (target.wakes_at == at) return;
  if (target.wakes_at) timers_.erase({*target.wakes_at, &target});
  target.wakes_at.reset();
  if (at == MonotonicTime::max()) return;
  timers_.emplace(at, &target);
  target.wakes_at = at;
}

MonotonicTime DeliveryEngine::NextTime(const Target& target, MonotonicTime now) const {
  MonotonicTime at = MonotonicTime::max();
  if (target.holds()) return at;
  const bool to_send = target.fresh.may_send() || target.parked.may_send();
  if (target.shared->circuit.open()) {
    if (to_send || !target.retries.empty()) {
      at = std::max({target.shared->circuit.next_probe(), target.shared->not_before(),
                     now + milliseconds(1)});
    }
  } else {
    if (!target.retries.empty()) at = target.retries.begin()->first;
    if (to_send && HasRoom(target)) {
      at = std::min(at, std::max(target.shared->not_before(), target.shared->rate.Next(now)));
    } else if (to_send && target.in_flight() < target.max_in_flight) {
      at = std::min(at, now + kLookForRoom);
    }
  }
  const bool to_map = !target.fresh.to_map.empty() || !target.parked.to_map.empty();
  if (to_map && target.mapper == nullptr) at = std::min(at, target.make_mapper_after);
  return at;
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

void DeliveryEngine::Map(Target& target, Target::Queue& queue, MonotonicTime now) {
  while (!queue.to_map.empty() && target.mapping < kMaxMappingBatches &&
         queue.to_send.size() < 2 * target.max_in_flight + options_.mapping_batch) {
    if (!EnsureMapper(target, now)) return;
    std::vector<DeliveryPtr> batch;
    std::vector<destination::MapInput> inputs;
    const int64_t now_us = clock_.NowMicros();
    while (!queue.to_map.empty() && inputs.size() < options_.mapping_batch) {
      DeliveryPtr delivery = std::move(queue.to_map.front());
      queue.to_map.pop_front();
      delivery->stage = Stage::kMapping;
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
  delivery->stage = Stage::kIdle;
  if (!result.error.empty()) {
    if (result.engine_fault && ++delivery->engine_faults < kMaxEngineFaults) {
      Wait(delivery, clock_.Monotonic() + kRetryEngine);
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
  const bool first_time = delivery->requests.empty();
  const size_t before = first_time ? delivery->meta.requests() : delivery->requests.size();
  if (first_time) delivery->next_request = delivery->meta.requests_delivered();
  if (result.requests.size() != before || delivery->next_request >= before) {
    delivery->next_request = 0;
  }
  delivery->requests = std::move(result.requests);
  delivery->mapped_by = version;
  Prepare(target, *delivery);
  if (first_time) delivery->window->Charge(*delivery, BytesOf(delivery->requests));
  delivery->stage = Stage::kQueued;
  target.queue(*delivery).list(*delivery).push_back(delivery);
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

void DeliveryEngine::Queue(const DeliveryPtr& delivery) {
  Target& target = delivery->window->target();
  delivery->stage = Stage::kQueued;
  const bool mapped = !delivery->requests.empty() && delivery->mapped_by == target.version;
  Target::Queue& queue = target.queue(*delivery);
  (mapped ? queue.list(*delivery) : queue.to_map).push_back(delivery);
}

void DeliveryEngine::Wait(const DeliveryPtr& delivery, MonotonicTime at) {
  if (delivery->window->dropping) return;
  Target& target = delivery->window->target();
  delivery->stage = Stage::kWaiting;
  delivery->retry = target.retries.emplace(at, delivery);
  SetReady(target);
}

}  // namespace millrace::router
