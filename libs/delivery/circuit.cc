#include "libs/delivery/circuit.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace millrace::delivery {
namespace {

size_t HashOf(std::string_view user) {
  return std::hash<std::string_view>()(user);
}

// Notes `user` among `users`, of which no more than `limit` are ever asked for.
void Note(std::vector<size_t>& users, std::string_view user, size_t limit) {
  const size_t hash = HashOf(user);
  if (users.size() < limit && std::ranges::find(users, hash) == users.end()) users.push_back(hash);
}

}  // namespace

bool Circuit::open() const {
  MutexLock lock(mu_);
  return report_.open;
}

bool Circuit::MayProbe(MonotonicTime now) const {
  MutexLock lock(mu_);
  return report_.open && now >= report_.next_probe &&
         (probes_under_way_ == 0 || now - last_probe_ >= options_.probe_patience);
}

MonotonicTime Circuit::next_probe() const {
  MutexLock lock(mu_);
  if (probes_under_way_ == 0) return report_.next_probe;
  return std::max(report_.next_probe, last_probe_ + options_.probe_patience);
}

bool Circuit::ProbedLately(std::string_view user) const {
  MutexLock lock(mu_);
  const auto end =
      probed_.begin() + static_cast<std::ptrdiff_t>(std::min(probed_count_, kRememberedProbes));
  return std::find(probed_.begin(), end, HashOf(user)) != end;
}

void Circuit::StartProbe(std::string_view user, MonotonicTime now) {
  MutexLock lock(mu_);
  ++probes_under_way_;
  last_probe_ = now;
  probed_[probed_count_++ % kRememberedProbes] = HashOf(user);
  PlanProbe(now);
}

void Circuit::DropProbe() {
  MutexLock lock(mu_);
  if (probes_under_way_ > 0) --probes_under_way_;
}

void Circuit::PlanProbe(MonotonicTime now) {
  report_.next_probe = now + BackoffDelay(options_.probes, report_.probes + 1, FastRandom());
}

bool Circuit::OnAnswer(std::string_view user, AnswerKind kind, std::string_view detail,
                       MonotonicTime now, bool probe) {
  MutexLock lock(mu_);
  if (probe && probes_under_way_ > 0) --probes_under_way_;
  if (kind == AnswerKind::kSuccess) ++successes_;
  if (kind == AnswerKind::kSuccess || kind == AnswerKind::kRefusedEvent) {
    const bool was_open = report_.open;
    Close();
    return was_open;
  }
  if (!report_.open) return OnFailure(user, kind, detail, now);
  // Answers to what was sent before it opened say nothing new.
  if (probe) {
    ++report_.probes;
    PlanProbe(now);
  }
  return false;
}

bool Circuit::OnFailure(std::string_view user, AnswerKind kind, std::string_view detail,
                        MonotonicTime now) {
  if (kind == AnswerKind::kUnauthorised) {
    return Open(true, fmt::format("the destination refuses the credentials; last: {}", detail),
                now);
  }
  if (kind == AnswerKind::kForbidden) {
    Note(forbidden_users_, user, options_.forbidden_users);
    if (forbidden_users_.size() < options_.forbidden_users) return false;
    return Open(true,
                fmt::format("the destination refuses the credentials: {} users in a row; last: {}",
                            options_.forbidden_users, detail),
                now);
  }
  ++failures_;
  Note(failed_users_, user, options_.users);
  if (failures_ < options_.failures || failed_users_.size() < options_.users) return false;
  return Open(false, fmt::format("{} answers in a row failed; last: {}", failures_, detail), now);
}

bool Circuit::Open(bool credentials, std::string reason, MonotonicTime now) {
  report_ = {.open = true, .credentials = credentials, .reason = std::move(reason), .since = now};
  PlanProbe(now);
  return true;
}

void Circuit::Close() {
  if (report_.open) report_ = {};
  failures_ = 0;
  failed_users_.clear();
  forbidden_users_.clear();
  probed_count_ = 0;
}

bool Circuit::IsEventsOwn(ForbiddenNote& note) const {
  MutexLock lock(mu_);
  if (note.times++ == 0) note.successes = successes_;
  if (report_.open) return false;
  return successes_ > note.successes || note.times >= options_.forbidden_tries;
}

void Circuit::Reset() {
  MutexLock lock(mu_);
  Close();
}

Circuit::Report Circuit::Explain() const {
  MutexLock lock(mu_);
  return report_;
}

}  // namespace millrace::delivery
