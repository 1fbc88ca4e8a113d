#include <fmt/format.h>

#include <chrono>
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

/// Runs JavaScript transformations over events of 1 KB through Transformer::Run. It says "ready"
/// when it is warm, begins at a line on its standard input, says what it did as JSON, and ends at
/// another line: so that the CPU time of this process and of its script workers can be read in
/// between.
namespace millrace::transformation {
namespace {

struct Case {
  const char* name;
  size_t transformations;
  size_t batch;  // events of one call
};
constexpr Case kCases[] = {{"transform-add-field", 1, 100}, {"transform-200", 200, 20}};
constexpr size_t kInFlight = 4;  // calls

std::string Code(size_t number) {
  return fmt::format(
      "export function transformEvent(event) {{ event.properties.added{} = 'value {}'; return "
      "event; }}",
      number, number);
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
  explicit Bench(const Case& one) : case_(one), runtime_(*Runtime::Create({}, 1)) {
    for (size_t i = 0; i < 1'000; ++i) events_.emplace_back(load::Event1k(i));
    for (size_t i = 0; i < case_.transformations; ++i) {
      config::v1::TransformationVersion version;
      version.set_id(fmt::format("v{}", i));
      version.set_code(Code(i));
      auto made = runtime_->Make(version, {});
      if (!made.ok()) {
        fmt::print(stderr, "millrace-transform-load: {}\n", Message(made.status()));
        std::exit(1);
      }
      transformers_.push_back(*std::move(made));
    }
  }

  /// False, with a message, unless as many events come out as go in.
  bool Run(size_t total) {
    for (size_t done = 0; done < total; done += case_.batch) {
      std::vector<Input> inputs;
      inputs.reserve(case_.batch);
      for (size_t i = 0; i < case_.batch; ++i) {
        const size_t number = done + i;
        inputs.push_back({.event = events_[number % events_.size()],
                          .metadata_json = "{}",
                          .message_id = "m",
                          .now_us = 1'767'225'600'000'000,
                          .seed = fmt::format("0.{}.0", number),
                          .user = number % 1000 + 1});
      }
      calls_.Begin();
      transformers_[done / case_.batch % transformers_.size()]->Run(
          std::move(inputs), {}, [this](std::vector<Output> outputs) { calls_.End(outputs); });
    }
    std::string error;
    const size_t produced = calls_.Finish(&error);
    if (produced == total && error.empty()) return true;
    fmt::print(stderr, "millrace-transform-load: {} events came out, {} should; {}\n", produced,
               total, error);
    return false;
  }

 private:
  const Case& case_;
  std::unique_ptr<Runtime> runtime_;
  std::vector<std::shared_ptr<Transformer>> transformers_;
  std::vector<Bytes> events_;
  Calls calls_;
};

int Measure(const Case& one, size_t events) {
  Bench bench(one);
  const size_t round = one.batch * one.transformations;
  events = (events + round - 1) / round * round;
  if (!bench.Run(events / 10 / round * round + round)) return 1;
  std::string line;
  fmt::print("ready\n");
  std::fflush(stdout);
  std::getline(std::cin, line);
  const auto started = std::chrono::steady_clock::now();
  if (!bench.Run(events)) return 1;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  fmt::print("{{\"events\":{},\"seconds\":{:.4f}}}\n", events, seconds.count());
  std::fflush(stdout);
  std::getline(std::cin, line);
  return 0;
}

int Main(int argc, char** argv) {
  const size_t events = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 200'000;
  for (const Case& one : kCases) {
    if (argc > 1 && one.name == std::string_view(argv[1])) return Measure(one, events);
  }
  fmt::print(stderr, "usage: millrace-transform-load transform-add-field|transform-200 [EVENTS]\n");
  return 2;
}

}  // namespace
}  // namespace millrace::transformation

int main(int argc, char** argv) {
  millrace::script::MaybeRunWorker(argc, argv);
  return millrace::transformation::Main(argc, argv);
}
