#include "libs/transformation/rules.h"
#include "tests/load/event_1k.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

/// Runs native rules over events of 1 KB in batches of 100 and prints what they cost. What is
/// counted is all of Transformer::Run and the making of its inputs.
namespace millrace::transformation {
namespace {

constexpr size_t kBatch = 100;

struct Case {
  const char* name;
  const char* rules;
  double dropped;  // the share that must be
};
constexpr Case kCases[] = {
    {"rule-drop", "rules: [{drop: event = Heartbeat}]", 0.5},
    {"rule-rename", "rules: [{rename: {properties.total: properties.revenue}}]", 0},
};

double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

int Measure(const Case& one, size_t events) {
  config::v1::TransformationVersion version;
  version.set_kind(config::v1::RULES);
  version.set_code(one.rules);
  auto transformer = RulesTransformer::Compile(version, {});
  if (!transformer.ok()) {
    fmt::print(stderr, "millrace-rules-load: {}\n", Message(transformer.status()));
    return 1;
  }
  std::vector<Bytes> pool;
  size_t bytes = 0;
  for (size_t i = 0; i < 1'000; ++i) {
    pool.emplace_back(load::Event1k(i));
    bytes += pool.back().size();
  }
  size_t produced = 0;
  const auto run = [&](size_t total) {
    for (size_t done = 0; done < total; done += kBatch) {
      std::vector<Input> inputs;
      inputs.reserve(kBatch);
      for (size_t i = 0; i < kBatch; ++i)
        inputs.push_back({.event = pool[(done + i) % pool.size()]});
      (*transformer)->Run(std::move(inputs), {}, [&](std::vector<Output> outputs) {
        for (const Output& output : outputs) produced += output.events.size();
      });
    }
  };
  run(events / 10);  // warm
  produced = 0;
  const double cpu = CpuSeconds();
  const auto started = std::chrono::steady_clock::now();
  run(events);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  const double spent = CpuSeconds() - cpu;
  const auto expected = static_cast<size_t>(static_cast<double>(events) * (1 - one.dropped));
  if (produced != expected) {
    fmt::print(stderr, "millrace-rules-load: {} events came out, {} should\n", produced, expected);
    return 1;
  }
  fmt::print(R"({{"case":"{}","events":{},"event_bytes":{},"cpu_seconds":{:.4f},"seconds":{:.4f}}})"
             "\n",
             one.name, events, bytes / pool.size(), spent, seconds.count());
  return 0;
}

int Main(int argc, char** argv) {
  const size_t events = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 2'000'000;
  for (const Case& one : kCases) {
    if (argc > 1 && one.name == std::string_view(argv[1]))
      return Measure(one, events / 1'000 * 1'000);
  }
  fmt::print(stderr, "usage: millrace-rules-load rule-drop|rule-rename [EVENTS]\n");
  return 2;
}

}  // namespace
}  // namespace millrace::transformation

int main(int argc, char** argv) {
  return millrace::transformation::Main(argc, argv);
}
