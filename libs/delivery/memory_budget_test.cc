#include "libs/delivery/memory_budget.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace millrace::delivery {
namespace {

constexpr size_t kBytes = 1000;
constexpr size_t kMinimum = 50;
constexpr size_t kEvent = 10;

// Takes event by event until told to stop; returns what it then holds.
size_t Fill(MemoryBudget::Taker& taker) {
  while (taker.MayTake()) taker.Charge(kEvent);
  return taker.held();
}

TEST_CASE("one taker alone may use the whole budget", "[budget]") {
  MemoryBudget budget(kBytes, kMinimum);
  const auto taker = budget.AddTaker();
  CHECK(Fill(*taker) == kBytes);
  CHECK(budget.used() == kBytes);
}

TEST_CASE("a taker gets its minimum although another has taken all it may", "[budget]") {
  MemoryBudget budget(kBytes, kMinimum);
  const auto greedy = budget.AddTaker();
  const auto late = budget.AddTaker();
  Fill(*greedy);
  CHECK(Fill(*late) >= kMinimum);
  CHECK(budget.used() <= kBytes + kMinimum);
}

TEST_CASE("a taker over its fair share gets no more while another wants some", "[budget]") {
  MemoryBudget budget(kBytes, kMinimum);
  const auto greedy = budget.AddTaker();
  const auto late = budget.AddTaker();
  Fill(*greedy);
  Fill(*late);
  // As what was taken is given back, the one below its share takes it.
  while (greedy->held() > kBytes / 2) {
    greedy->Give(kEvent);
    Fill(*late);
    CHECK_FALSE(greedy->MayTake());
  }
  CHECK(late->held() >= kBytes / 2 - kEvent);
  SECTION("once the other has enough, the rest is free for all") {
    late->Give(late->held());
    late->Sated();
    CHECK(Fill(*greedy) > kBytes / 2);
  }
}

TEST_CASE("many takers that hold nothing: each still gets one event in", "[budget]") {
  MemoryBudget budget(kBytes, kMinimum);
  const auto greedy = budget.AddTaker();
  Fill(*greedy);
  std::vector<std::unique_ptr<MemoryBudget::Taker>> takers;
  for (int i = 0; i < 500; ++i) {
    takers.push_back(budget.AddTaker());
    REQUIRE(takers.back()->MayTake());
    takers.back()->Charge(kEvent);
  }
  CHECK_FALSE(takers.back()->MayTake());  // a second one would be beyond its share
  CHECK_FALSE(greedy->MayTake());
}

TEST_CASE("what comes in one piece is counted although it does not fit", "[budget]") {
  MemoryBudget budget(kBytes, kMinimum);
  const auto taker = budget.AddTaker();
  CHECK_FALSE(taker->Charge(5 * kBytes));
  CHECK(budget.used() == 5 * kBytes);
  taker->Give(5 * kBytes);
  CHECK(taker->MayTake());
}

TEST_CASE("a taker that goes gives all back", "[budget]") {
  MemoryBudget budget(kBytes, kMinimum);
  const auto stays = budget.AddTaker();
  {
    const auto goes = budget.AddTaker();
    Fill(*goes);
    Fill(*stays);
    goes->MayTake();
  }
  CHECK(budget.used() == stays->held());
  CHECK(Fill(*stays) == kBytes);
}

TEST_CASE("takers of several threads never hold more than the budget and an event each",
          "[budget]") {
  MemoryBudget budget(kBytes, kMinimum);
  std::atomic<size_t> most{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const auto taker = budget.AddTaker();
      for (int round = 0; round < 2000; ++round) {
        if (taker->MayTake()) taker->Charge(kEvent);
        if (round % 3 == 0 && taker->held() > 0) taker->Give(kEvent);
      }
      most = std::max(most.load(), budget.used());
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(most > 0);
  CHECK(most <= kBytes + 4 * (kMinimum + kEvent));
  CHECK(budget.used() == 0);
}

}  // namespace
}  // namespace millrace::delivery
