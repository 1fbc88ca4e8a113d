// The attempts of a delivery engine: send, judge, try again.
#include <algorithm>

#include "libs/base/backoff.h"
#include "libs/base/failpoint.h"
#include "libs/base/log.h"
#include "services/router/delivery_engine.h"
#include "services/router/partition_window.h"

namespace millrace::router {
namespace {

using delivery::AnswerKind;
using Stage = Delivery::Stage;

// While fresh events wait, parked users have every fourth turn and a fourth of the requests; so do,
// of the turns, events that failed before.
constexpr size_t kParkedShare = 4;
constexpr size_t kProbesLookedAt = 16;

AnswerKind KindOf(const destination::v1::Definition& definition, const destination::Answer& answer,
                  destination::Verdict verdict) {
  if (verdict == destination::Verdict::kDelivered) return AnswerKind::kSuccess;
  if (verdict == destination::Verdict::kRetry) return AnswerKind::kFailed;
  const auto& final_ones = definition.judging().aborted();
  const bool is_final =
      std::find(final_ones.begin(), final_ones.end(), answer.status) != final_ones.end();
  if (!is_final && answer.status == 401) return AnswerKind::kUnauthorised;
  if (!is_final && answer.status == 403) return AnswerKind::kForbidden;
  return AnswerKind::kRefusedEvent;
}

}  // namespace

std::string ReasonOf(const destination::Answer& answer) {
  if (answer.network_error.empty())
    return fmt::format("the destination answered {}", answer.status);
  return fmt::format("{}: {}", answer.error_class, answer.network_error);
}

bool DeliveryEngine::HasRoom(const Target& target) {
  return target.in_flight() < target.max_in_flight &&
         (target.max_shared_in_flight == 0 ||
          target.shared->in_flight < target.max_shared_in_flight);
}

std::deque<DeliveryPtr>* DeliveryEngine::NextToSend(Target& target) {
  Target::Queue& fresh = target.fresh;
  Target::Queue& parked = target.parked;
  const bool parked_may =
      parked.may_send() &&
      (fresh.empty() ||
       parked.in_flight < std::max<size_t>(1, target.max_in_flight / kParkedShare));
  std::deque<DeliveryPtr>* of_parked = nullptr;
  if (parked_may) of_parked = parked.to_send.empty() ? &parked.again : &parked.to_send;
  const uint64_t turn = target.turn % kParkedShare;
  if (turn == 0 && of_parked != nullptr) return of_parked;
  if (turn == 2 && !fresh.again.empty()) return &fresh.again;
  if (!fresh.to_send.empty()) return &fresh.to_send;
  return fresh.again.empty() ? of_parked : &fresh.again;
}

void DeliveryEngine::SendReady(Target& target, MonotonicTime now) {
  if (now < target.shared->not_before()) return;
  while (HasRoom(target)) {
    auto* const list = NextToSend(target);
    if (list == nullptr || !target.shared->rate.Take(now)) return;
    ++target.turn;
    const DeliveryPtr delivery = std::move(list->front());
    list->pop_front();
    Send(target, delivery);
  }
}

DeliveryPtr DeliveryEngine::PickProbe(const Target& target) {
  DeliveryPtr other;
  size_t looked_at = 0;
  const auto is_new_user = [&](const DeliveryPtr& delivery) {
    if (delivery->requests.empty() || delivery->mapped_by != target.version) return false;
    if (other == nullptr) other = delivery;
    return !target.shared->circuit.ProbedLately(delivery->key);
  };
  for (const auto* list :
       {&target.fresh.to_send, &target.parked.to_send, &target.fresh.again, &target.parked.again}) {
    looked_at = 0;
    for (const DeliveryPtr& delivery : *list) {
      if (is_new_user(delivery)) return delivery;
      if (++looked_at == kProbesLookedAt) break;
    }
  }
  looked_at = 0;
  for (const auto& [at, delivery] : target.retries) {
    if (is_new_user(delivery)) return delivery;
    if (++looked_at == kProbesLookedAt) break;
  }
  return other;
}

void DeliveryEngine::Probe(Target& target, MonotonicTime now) {
  if (now < target.shared->not_before() || !target.shared->circuit.MayProbe(now)) return;
  const DeliveryPtr delivery = PickProbe(target);
  if (delivery == nullptr || !target.shared->rate.Take(now)) return;
  Withdraw(delivery);
  delivery->probe = true;
  target.shared->circuit.StartProbe(delivery->key, now);
  Send(target, delivery);
}

void DeliveryEngine::Send(Target& target, const DeliveryPtr& delivery) {
  delivery->stage = Stage::kSending;
  ++target.queue(*delivery).in_flight;
  ++target.shared->in_flight;
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
  --target.queue(*delivery).in_flight;
  --target.shared->in_flight;
  --window.in_flight;
  delivery->stage = Stage::kIdle;
  SetReady(target);
  const bool probe = std::exchange(delivery->probe, false);
  if (window.gone) {
    if (probe) target.shared->circuit.DropProbe();
    return;
  }
  ++delivery->attempts;
  Judge(delivery, answer, probe);
}

void DeliveryEngine::Judge(const DeliveryPtr& delivery, const destination::Answer& answer,
                           bool probe) {
  Target& target = delivery->window->target();
  const AnswerKind kind =
      KindOf(*target.definition, answer, destination::Judge(*target.definition, answer));
  TellCircuit(delivery, answer, kind, probe);
  const bool refused =
      kind == AnswerKind::kRefusedEvent ||
      (kind == AnswerKind::kForbidden && target.shared->circuit.IsEventsOwn(delivery->forbidden));
  if (kind == AnswerKind::kSuccess) {
    OnDelivered(target, delivery, answer);
  } else if (refused) {
    listener_.OnEnd(delivery, {.outcome = delivery::v1::DEAD_LETTERED,
                               .error_class = "rejected",
                               .reason = ReasonOf(answer),
                               .answer = &answer});
  } else {
    Retry(delivery, answer);
  }
}

void DeliveryEngine::TellCircuit(const DeliveryPtr& delivery, const destination::Answer& answer,
                                 AnswerKind kind, bool probe) {
  const bool good = kind == AnswerKind::kSuccess || kind == AnswerKind::kRefusedEvent;
  const MonotonicTime now = clock_.Monotonic();
  // Who is known to fail says nothing of the destination.
  const bool known = delivery->parked || (delivery->failing_since != MonotonicTime() &&
                                          now - delivery->failing_since >= options_.suspect_for);
  if (known && !good && !probe) return;
  Target& target = delivery->window->target();
  const std::string detail = good ? "" : ReasonOf(answer);
  if (!target.shared->circuit.OnAnswer(delivery->key, kind, detail, now, probe)) {
    return;
  }
  const auto report = target.shared->circuit.Explain();
  if (report.open) {
    log::Warning("router: destination {}: {}; its events wait, single ones try it", target.id,
                 report.reason);
  } else {
    log::Info("router: destination {}: takes events again", target.id);
  }
  listener_.OnCircuit(target);
}

void DeliveryEngine::OnDelivered(Target& target, const DeliveryPtr& delivery,
                                 const destination::Answer& answer) {
  if (++delivery->next_request == delivery->requests.size()) {
    listener_.OnEnd(delivery, {.outcome = delivery::v1::DELIVERED, .answer = &answer});
  } else if (!delivery->window->dropping) {
    delivery->stage = Stage::kQueued;
    target.queue(*delivery).to_send.push_front(delivery);
  }
}

void DeliveryEngine::Retry(const DeliveryPtr& delivery, const destination::Answer& answer) {
  Target& target = delivery->window->target();
  const MonotonicTime now = clock_.Monotonic();
  if (delivery->failing_since == MonotonicTime()) delivery->failing_since = now;
  delivery::FailedAttempt failed{.attempts = delivery->attempts - delivery->forgiven_attempts,
                                 .status = answer.status,
                                 .born = delivery->born,
                                 .now = now,
                                 .wall_us = clock_.NowMicros(),
                                 .random = FastRandom()};
  const auto header =
      std::ranges::find(answer.headers, "retry-after", &std::pair<std::string, std::string>::first);
  if (header != answer.headers.end()) failed.retry_after = header->second;
  const delivery::RetryDecision decision = delivery::DecideRetry(options_.retry, failed);
  if (decision.expired) {
    listener_.OnEnd(delivery,
                    {.outcome = delivery::v1::DEAD_LETTERED,
                     .error_class = "expired",
                     .reason = fmt::format("not delivered for {} s; last: {}",
                                           options_.retry.max_age.count(), ReasonOf(answer)),
                     .answer = &answer});
    return;
  }
  if (decision.hold_until != MonotonicTime()) target.shared->HoldUntil(decision.hold_until);
  if (!listener_.OnFailure(delivery, answer, decision.retry_at)) {
    Wait(delivery, decision.retry_at);
  }
}

}  // namespace millrace::router
