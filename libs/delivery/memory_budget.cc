#include "libs/delivery/memory_budget.h"

#include <algorithm>

#include "libs/base/status.h"

namespace millrace::delivery {

std::unique_ptr<MemoryBudget::Taker> MemoryBudget::AddTaker() {
  MutexLock lock(mu_);
  ++takers_;
  return std::unique_ptr<Taker>(new Taker(*this));
}

size_t MemoryBudget::used() const {
  MutexLock lock(mu_);
  return used_;
}

size_t MemoryBudget::Minimum() const {
  return std::min(minimum_, bytes_ / std::max<size_t>(takers_, 1));
}

bool MemoryBudget::MayTake(const Taker& taker) const {
  // Nothing in hand: one event is always let in, or this taker would stand for good.
  if (taker.held_ == 0 || taker.held_ < Minimum()) return true;
  if (used_ >= bytes_) return false;
  const bool counted = taker.held_ > 0 || taker.wanting_;
  const size_t sharing = std::max<size_t>(active_ + (counted ? 0 : 1), 1);
  if (taker.held_ < bytes_ / sharing) return true;
  const size_t others_wanting = wanting_ - (taker.wanting_ ? 1 : 0);
  if (others_wanting > 0) return false;
  // Room that the minimum of those who hold nothing yet may need stays free.
  const size_t idle = takers_ - std::min(takers_, active_);
  return bytes_ - used_ > idle * Minimum() / 2;
}

void MemoryBudget::Taker::Update(size_t held, bool wanting) {
  const bool was_active = held_ > 0 || wanting_;
  const bool is_active = held > 0 || wanting;
  budget_.used_ += held;
  budget_.used_ -= held_;
  budget_.wanting_ += wanting ? 1 : 0;
  budget_.wanting_ -= wanting_ ? 1 : 0;
  budget_.active_ += is_active ? 1 : 0;
  budget_.active_ -= was_active ? 1 : 0;
  held_ = held;
  wanting_ = wanting;
}

bool MemoryBudget::Taker::Ask() {
  const bool may = budget_.MayTake(*this);
  Update(held_, !may);
  return may;
}

MemoryBudget::Taker::~Taker() {
  MutexLock lock(budget_.mu_);
  Update(0, false);
  --budget_.takers_;
}

bool MemoryBudget::Taker::Charge(size_t bytes) {
  MutexLock lock(budget_.mu_);
  Update(held_ + bytes, false);
  return Ask();
}

bool MemoryBudget::Taker::MayTake() {
  MutexLock lock(budget_.mu_);
  return Ask();
}

void MemoryBudget::Taker::Sated() {
  MutexLock lock(budget_.mu_);
  Update(held_, false);
}

void MemoryBudget::Taker::Give(size_t bytes) {
  MutexLock lock(budget_.mu_);
  MR_CHECK(bytes <= held_);
  Update(held_ - bytes, wanting_);
}

size_t MemoryBudget::Taker::held() const {
  MutexLock lock(budget_.mu_);
  return held_;
}

}  // namespace millrace::delivery
