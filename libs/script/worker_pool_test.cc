#include "libs/script/worker_pool.h"

#include <catch2/catch.hpp>

#include <atomic>
#include <future>
#include <thread>

namespace millrace::script {
namespace {

std::shared_ptr<const Module> MakeModule(const std::string& source, Limits limits = {}) {
  return std::make_shared<const Module>(Module{.id = "test", .source = source, .limits = limits});
}

std::vector<CallOutput> Call(WorkerPool& pool, const std::shared_ptr<const Module>& module,
                             const std::vector<std::string>& events) {
  std::vector<CallInput> inputs;
  for (const std::string& event : events) inputs.push_back({.event = Bytes(event)});
  std::promise<std::vector<CallOutput>> promise;
  pool.Call(module, std::move(inputs),
            [&](std::vector<CallOutput> outputs) { promise.set_value(std::move(outputs)); });
  return promise.get_future().get();
}

std::unique_ptr<WorkerPool> StartPool(ScriptSettings settings = {}) {
  auto pool = WorkerPool::Start(settings);
  INFO(Message(pool.status()));
  REQUIRE(pool.ok());
  return *std::move(pool);
}

TEST_CASE("a batch comes back in order, errors with their event") {
  auto pool = StartPool();
  const auto module = MakeModule(
      "export function map(event) { if (event.n === 1) throw new Error('one'); return event.n === "
      "2 ? "
      "null : {n: event.n * 2}; }");
  const auto outputs =
      Call(*pool, module, {R"({"n":0})", R"({"n":1})", R"({"n":2})", "{bad", R"({"n":4})"});
  REQUIRE(outputs.size() == 5);
  CHECK(outputs[0].value == R"({"n":0})");
  CHECK(outputs[1].error == "Error: one");
  CHECK(outputs[2].outcome == Outcome::kNothing);
  CHECK(outputs[3].outcome == Outcome::kError);
  CHECK(outputs[4].value == R"({"n":8})");
  CHECK(Call(*pool, module, {}).empty());
}

TEST_CASE("modules do not see each other, and many fit a small worker") {
  auto pool = StartPool({.max_modules = 2});
  const auto writer =
      MakeModule("globalThis.leak = 1; Array.prototype.leak = 2; export const map = () => leak;");
  const auto reader = MakeModule("export const map = () => [typeof leak, [].leak === undefined];");
  const auto third = MakeModule("export const map = () => 3;");
  for (int round = 0; round < 3; ++round) {
    CHECK(Call(*pool, writer, {"{}"})[0].value == "1");
    CHECK(Call(*pool, reader, {"{}"})[0].value == R"(["undefined",true])");
    CHECK(Call(*pool, third, {"{}"})[0].value == "3");
  }
}

TEST_CASE("Load says what is wrong with a module") {
  auto pool = StartPool();
  CHECK(pool->Load(MakeModule("export const map = () => 1;")).ok());
  const Status status = pool->Load(MakeModule("export const map = ;"));
  CHECK(status.code() == StatusCode::kInvalidArgument);
  CHECK(Call(*pool, MakeModule("export const map = ;"), {"{}"})[0].outcome == Outcome::kError);
}

TEST_CASE("an event that kills or hangs the worker is found, its neighbours are served") {
  auto pool =
      StartPool({.hang_grace = std::chrono::milliseconds(200), .worker_memory_bytes = 96 << 20});
  Limits limits;
  SECTION("a loop is stopped inside the worker") {
    limits.cpu_time = std::chrono::milliseconds(50);
    const auto module = MakeModule("export function map(e) { while (e.loop); return 1; }", limits);
    const auto outputs = Call(*pool, module, {"{}", R"({"loop":1})", "{}"});
    CHECK(outputs[0].value == "1");
    CHECK(outputs[1].outcome == Outcome::kError);
    CHECK(outputs[2].value == "1");
    CHECK(pool->stats().workers_lost == 0);
  }
#ifndef MILLRACE_SANITIZED  // which need more address space than a limit could leave
  SECTION("a result that the worker cannot hold kills it") {
    limits.memory_bytes = size_t{1} << 40;
    limits.result_bytes = size_t{1} << 40;
    limits.cpu_time = std::chrono::milliseconds(60'000);
    const auto module = MakeModule(
        "const text = 'x'.repeat(1 << 20);"
        "export function map(e) { return e.bomb ? new Array(1000).fill(text) : 1; }",
        limits);
    const auto outputs = Call(*pool, module, {"{}", "{}", R"({"bomb":1})", "{}"});
    REQUIRE(outputs.size() == 4);
    CHECK(outputs[0].value == "1");
    CHECK(outputs[1].value == "1");
    CHECK(outputs[2].outcome == Outcome::kEngineFault);
    CHECK(outputs[3].value == "1");
    CHECK(pool->stats().workers_lost >= 1);
  }
#endif
}

TEST_CASE(
    "many threads call at once, each gets its own answers, and the end of the pool answers all") {
  constexpr int kThreads = 4;
  constexpr int kCalls = 50;
  auto pool = StartPool({.workers = 2});
  const auto module = MakeModule("export const map = (event) => event.n;");
  std::atomic<int> right = 0;
  std::atomic<int> ended = 0;
  {
    std::vector<std::jthread> callers;
    for (int thread = 0; thread < kThreads; ++thread) {
      callers.emplace_back([&, thread] {
        for (int i = 0; i < kCalls; ++i) {
          const std::string n = std::to_string(thread * kCalls + i);
          if (Call(*pool, module, {"{\"n\":" + n + "}"})[0].value == n) ++right;
          if (i % 10 != 0) continue;
          pool->Call(module, {CallInput{.event = Bytes("{}")}},
                     [&ended](const std::vector<CallOutput>&) { ++ended; });
        }
      });
    }
  }
  CHECK(right == kThreads * kCalls);
  pool.reset();
  CHECK(ended == kThreads * kCalls / 10);
}

TEST_CASE("destroying the pool answers what is open") {
  auto pool = StartPool();
  std::promise<std::vector<CallOutput>> promise;
  pool->Call(MakeModule("export function map() { for (;;); }"), {CallInput{.event = Bytes("{}")}},
             [&](std::vector<CallOutput> outputs) { promise.set_value(std::move(outputs)); });
  pool.reset();
  CHECK(promise.get_future().get().size() == 1);
}

}  // namespace
}  // namespace millrace::script
