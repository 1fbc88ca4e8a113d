#include <absl/strings/str_replace.h>
#include <fmt/format.h>
#include <malloc.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/script/worker.h"
#include "libs/transformation/runtime.h"
#include "tests/load/event_1k.h"
#include "tests/load/transform_cases.h"

/// Runs transformations over events of 1 KB through Transformer::Run. It says "ready" when it is
/// warm, begins at a line on its standard input, says what it did as JSON, and ends at another
/// line: so that the CPU time of this process and of its script workers can be read in between.
///
/// A case "script-NAME" first shows that it does the same as its twin "rule-NAME".
namespace millrace::transformation {
namespace {

using load::TransformCase;

constexpr size_t kInFlight = 4;  // calls
constexpr size_t kEvents = 1'000;

[[noreturn]] void Fail(std::string_view what) {
  fmt::print(stderr, "millrace-transform-load: {}\n", what);
  std::exit(1);
}

/// Counts what came out, and waits until few enough calls are under way.
class Calls {
 public:
  void Begin() {
    MutexLock lock(mu_);
    while (open_ >= kInFlight) moved_.wait(lock.native());
    ++open_;
  }
  void End(const std::vector<Output>& outputs) {
    MutexLock lock(mu_);
    for (const Output& output : outputs) {
      produced_ += output.events.size();
      if (!output.error.empty() && error_.empty()) error_ = output.error;
    }
    --open_;
    moved_.notify_all();
  }
  /// Waits for all; how many events came out.
  size_t Finish(std::string* error) {
    MutexLock lock(mu_);
    while (open_ > 0) moved_.wait(lock.native());
    *error = error_;
    return std::exchange(produced_, 0);
  }

 private:
  Mutex mu_;
  std::condition_variable moved_;
  size_t open_ ABSL_GUARDED_BY(mu_) = 0;
  size_t produced_ ABSL_GUARDED_BY(mu_) = 0;
  std::string error_ ABSL_GUARDED_BY(mu_);
};

class Bench {
 public:
  Bench(Runtime& runtime, TransformCase one) : case_(std::move(one)) {
    for (size_t i = 0; i < kEvents; ++i) events_.emplace_back(load::Event1k(i));
    for (size_t done = 0; done < kEvents; done += case_.batch) inputs_.push_back(Inputs(done));
    for (size_t i = 0; i < case_.transformations; ++i) {
      config::v1::TransformationVersion version;
      version.set_id(fmt::format("v{}", i));
      if (case_.rules) version.set_kind(config::v1::RULES);
      version.set_code(absl::StrReplaceAll(case_.code, {{"#", std::to_string(i)}}));
      auto made = runtime.Make(version, {});
      if (!made.ok()) Fail(Message(made.status()));
      transformers_.push_back(*std::move(made));
    }
  }

  void Run(size_t total) {
    for (size_t done = 0; done < total; done += case_.batch) {
      calls_.Begin();
      transformers_[done / case_.batch % transformers_.size()]->Run(
          inputs_[done / case_.batch % inputs_.size()], {},
          [this](std::vector<Output> outputs) { calls_.End(outputs); });
    }
    std::string error;
    const size_t produced = calls_.Finish(&error);
    const auto wanted = static_cast<double>(total) * (1 - case_.dropped);
    const double slack = case_.by_chance ? wanted / 5 : 0.5;
    if (!error.empty() || std::abs(static_cast<double>(produced) - wanted) > slack)
      Fail(fmt::format("{} events came out, {} should; {}", produced, wanted, error));
  }

  /// What becomes of each of the events, as JSON.
  std::vector<nlohmann::json> Results() {
    std::vector<nlohmann::json> results;
    for (size_t done = 0; done < kEvents; done += case_.batch) {
      for (const Output& output : RunAndWait(*transformers_[0], Inputs(done), {})) {
        results.push_back(output.error);
        for (const Bytes& event : output.events)
          results.back() = nlohmann::json::parse(event.view());
      }
    }
    return results;
  }

 private:
  std::vector<Input> Inputs(size_t first) const {
    std::vector<Input> inputs;
    inputs.reserve(case_.batch);
    for (size_t number = first; number < first + case_.batch; ++number) {
      inputs.push_back({.event = events_[number % events_.size()],
                        .metadata_json = "{}",
                        .message_id = "m",
                        .now_us = 1'767'225'600'000'000,
                        .seed = fmt::format("0.{}.0", number),
                        .user = number % 1000 + 1});
    }
    return inputs;
  }

  const TransformCase case_;
  std::vector<std::shared_ptr<Transformer>> transformers_;
  std::vector<Bytes> events_;
  std::vector<std::vector<Input>> inputs_;  // of calls
  Calls calls_;
};

const TransformCase* Find(const std::vector<TransformCase>& cases, std::string_view name) {
  const auto found = std::ranges::find(cases, name, &TransformCase::name);
  return found == cases.end() ? nullptr : &*found;
}

void MustAgree(Runtime& runtime, const TransformCase& script, const TransformCase& rule) {
  const auto by_script = Bench(runtime, script).Results(), by_rule = Bench(runtime, rule).Results();
  for (size_t i = 0; i < kEvents; ++i) {
    if (by_script.at(i) != by_rule.at(i)) {
      Fail(fmt::format("{} and {} differ: {} is not {}", script.name, rule.name,
                       by_script[i].dump(), by_rule[i].dump()));
    }
  }
}

void Measure(const std::vector<TransformCase>& cases, const TransformCase& one, size_t events) {
  const auto runtime = *Runtime::Create({}, 1);
  if (!one.by_chance && one.name.starts_with("script-"))
    MustAgree(*runtime, one, *Find(cases, "rule" + one.name.substr(one.name.find('-'))));
  Bench bench(*runtime, one);
  const size_t round = std::max(one.batch * one.transformations, kEvents);
  events = (events + round - 1) / round * round;
  bench.Run(events / 10 / round * round + round);  // warm
  std::string line;
  fmt::print("ready\n");
  std::fflush(stdout);
  std::getline(std::cin, line);
  const auto started = std::chrono::steady_clock::now();
  bench.Run(events);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  fmt::print("{{\"events\":{},\"seconds\":{:.4f}}}\n", events, seconds.count());
  std::fflush(stdout);
  std::getline(std::cin, line);
}

int Main(int argc, char** argv) {
  const size_t events = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 200'000;
  const std::vector<TransformCase> cases = load::TransformCases();
  if (const TransformCase* one = argc > 1 ? Find(cases, argv[1]) : nullptr) {
    Measure(cases, *one, events);
    return 0;
  }
  fmt::print(stderr, "usage: millrace-transform-load CASE [EVENTS]; the cases are");
  for (const TransformCase& one : cases) fmt::print(stderr, " {}", one.name);
  fmt::print(stderr, "\n");
  return 2;
}

}  // namespace
}  // namespace millrace::transformation

int main(int argc, char** argv) {
  millrace::script::MaybeRunWorker(argc, argv);
  // Else a batch's results, the last thing on the heap here, go back to the kernel each time.
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  mallopt(M_MMAP_THRESHOLD, 4 << 20);
  return millrace::transformation::Main(argc, argv);
}
