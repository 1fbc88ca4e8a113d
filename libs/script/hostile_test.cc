#include <catch2/catch.hpp>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>

#include "libs/script/worker_pool.h"

namespace millrace::script {
namespace {

constexpr size_t kMemory = 24 << 20;
#ifdef MILLRACE_SANITIZED
constexpr bool kMeasured = false;  // instrumented code is slow and large
constexpr std::chrono::milliseconds kCpu{300};
#else
constexpr bool kMeasured = true;
constexpr std::chrono::milliseconds kCpu{100};
#endif

constexpr char kAdapter[] =
    "(host) => (exports) => { const {transformEvent} = exports; return (event) => {"
    " const r = transformEvent(event);"
    " return typeof r?.then === 'function' ? Promise.resolve(r) : r; }; }";

struct HostileCase {
  std::string name;
  std::string expected;  // class, or "value"
  std::string value;
  std::string body;
};

std::vector<HostileCase> ReadCases() {
  std::ifstream file(MILLRACE_SCRIPT_TESTDATA "/hostile.txt");
  REQUIRE(file);
  std::vector<HostileCase> cases;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("### ")) {
      const size_t first = line.find(" | ");
      const size_t second = line.find(" | ", first + 1);
      HostileCase& added = cases.emplace_back();
      added.name = line.substr(4, first - 4);
      added.expected =
          line.substr(first + 3, second == std::string::npos ? second : second - first - 3);
      if (second != std::string::npos) added.value = line.substr(second + 3);
    } else if (!cases.empty()) {
      cases.back().body += line + "\n";
    }
  }
  return cases;
}

std::string NameOf(ErrorClass error_class) {
  static const char* const kNames[] = {"none",  "thrown",           "timeout", "memory",
                                       "stack", "result_too_large", "engine"};
  return kNames[static_cast<size_t>(error_class)];
}

/// This process's only worker, as the kernel sees it.
struct WorkerView {
  pid_t pid = 0;
  double cpu_ms = 0;
  size_t peak_bytes = 0;

  static WorkerView Find() {
    WorkerView found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      std::ifstream stat(entry.path() / "stat");
      std::string text((std::istreambuf_iterator<char>(stat)), {});
      const size_t end = text.rfind(") ");
      if (end == std::string::npos || text.find("(millrace-script)") == std::string::npos) continue;
      std::istringstream rest(text.substr(end + 2));
      std::string field;
      std::vector<std::string> fields;
      while (rest >> field) fields.push_back(field);
      if (fields.size() < 13 || std::stol(fields[1]) != getpid() || fields[0] == "Z") continue;
      found.pid = static_cast<pid_t>(std::stol(name));
      found.cpu_ms = (std::stod(fields[11]) + std::stod(fields[12])) * 1000.0 /
                     static_cast<double>(sysconf(_SC_CLK_TCK));
      std::ifstream status(entry.path() / "status");
      for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmHWM:")) found.peak_bytes = std::stoul(line.substr(6)) << 10;
      }
    }
    return found;
  }
};

double ChildrenCpuMs() {
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

std::vector<CallOutput> Call(WorkerPool& pool, const std::shared_ptr<const Module>& module,
                             const std::vector<std::string>& events) {
  std::vector<CallInput> inputs;
  for (const std::string& event : events) {
    inputs.push_back({.event = Bytes(event), .now_us = 1'700'000'000'000'000, .seed = "seed"});
  }
  std::promise<std::vector<CallOutput>> promise;
  pool.Call(module, std::move(inputs),
            [&](std::vector<CallOutput> outputs) { promise.set_value(std::move(outputs)); });
  return promise.get_future().get();
}

std::shared_ptr<const Module> MakeModule(const std::string& source) {
  Limits limits;
  limits.cpu_time = kCpu;
  limits.memory_bytes = kMemory;
  limits.result_bytes = 1 << 20;
  return std::make_shared<const Module>(
      Module{.id = "hostile", .source = source, .adapter = kAdapter, .limits = limits});
}

std::unique_ptr<WorkerPool> StartPool() {
  auto pool = WorkerPool::Start({});
  REQUIRE(pool.ok());
  return *std::move(pool);
}

TEST_CASE("hostile scripts are stopped and cost their own events only", "[hostile]") {
  const auto pool = StartPool();
  const auto neighbour = MakeModule(
      "export const transformEvent = () => ({leak: typeof globalThis.leak, p: ({}).leak === "
      "undefined});");
  const std::vector<HostileCase> cases = ReadCases();
  CHECK(cases.size() >= 80);
  double worst_over_ms = 0;
  double worst_back_ms = 0;
  for (const HostileCase& hostile : cases) {
    const auto module =
        MakeModule("export function transformEvent(event) { if (!event.hostile) return event;\n" +
                   hostile.body + "}");
    Call(*pool, module, {"{}"});
    const WorkerView before = WorkerView::Find();
    const double children_ms = ChildrenCpuMs();
    const auto outputs =
        Call(*pool, module,
             {R"({"n":0})", R"({"n":1})", R"({"hostile":1})", R"({"n":3})", R"({"n":4})"});
    const auto ended = std::chrono::steady_clock::now();
    CHECK(Call(*pool, neighbour, {"{}"})[0].value == R"({"leak":"undefined","p":true})");
    const auto back_ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - ended).count();
    const WorkerView after = WorkerView::Find();
    INFO(hostile.name << ": " << outputs[2].error << "\n" << outputs[2].stack << outputs[2].value);
    const std::string name = NameOf(outputs[2].error_class);
    CHECK_THAT(" or " + hostile.expected + " or ",
               Catch::Contains(name == "none" ? " or value or " : " or " + name + " or "));
    if (hostile.expected == "value") CHECK(outputs[2].value == hostile.value);
    CHECK((outputs[2].outcome == Outcome::kValue) == (hostile.expected == "value"));
    CHECK(outputs[2].error.empty() == (hostile.expected == "value"));
    CHECK(outputs[2].error.find("adapter") == std::string::npos);
    CHECK(outputs[2].stack.find("adapter") == std::string::npos);
    // Events of the same version share its realm, so only what they are made of is sure to stay.
    for (const size_t i : {0, 1, 3, 4}) CHECK(outputs[i].value == fmt::format(R"({{"n":{}}})", i));
    if (!kMeasured) continue;
    const double cpu_ms = before.pid == after.pid ? after.cpu_ms - before.cpu_ms
                                                  : ChildrenCpuMs() - children_ms - before.cpu_ms;
    worst_over_ms = std::max(worst_over_ms, cpu_ms - kCpu.count());
    worst_back_ms = std::max(worst_back_ms, back_ms);
    CHECK(cpu_ms <= kCpu.count() + 100);
    CHECK(after.peak_bytes <= kMemory + (32 << 20));
  }
  WARN(cases.size() << " hostile scripts: at most " << worst_over_ms
                    << " ms of CPU beyond the limit, next answer after " << worst_back_ms << " ms, "
                    << pool->stats().workers_lost << " workers replaced");
}

TEST_CASE("nothing that one module sets is seen by another", "[hostile]") {
  const auto pool = StartPool();
  const auto a = MakeModule(
      "let n = 0; export function transformEvent() { globalThis.leak = ++n; Object.prototype.leak "
      "= n;"
      " Array.prototype.leak = n; Function.prototype.leak = n; Error.leak = n; Math.leak = n; "
      "return {n}; }");
  const auto b = MakeModule(
      "export const transformEvent = () => [typeof globalThis.leak, ({}).leak, [].leak, (() => "
      "0).leak,"
      " Error.leak, Math.leak].filter((x) => x !== undefined && x !== 'undefined').length;");
  int seen = 0;
  for (int round = 0; round < 100; ++round) {
    Call(*pool, a, std::vector<std::string>(10, "{}"));
    for (const CallOutput& output : Call(*pool, b, std::vector<std::string>(100, "{}"))) {
      seen += output.value == "0" ? 0 : 1;
    }
  }
  CHECK(seen == 0);
}

TEST_CASE("the same input gives the same bytes", "[hostile]") {
  const auto pool = StartPool();
  const auto module = MakeModule(
      "export function transformEvent(event) { return {...event, r: Math.random(), d: Date.now(),"
      " t: new Date().toISOString(), s: Math.random().toString(36), k: Object.keys(event)}; }");
  const std::string event = R"({"a":1,"b":{"c":[1,2,{"d":null}]},"e":"é"})";
  const std::string first = Call(*pool, module, {event})[0].value;
  int different = 0;
  for (int round = 0; round < 10; ++round) {
    for (const CallOutput& output : Call(*pool, module, std::vector<std::string>(100, event))) {
      different += output.value == first ? 0 : 1;
    }
  }
  CHECK(different == 0);
}

TEST_CASE("many modules fit one worker", "[hostile]") {
  const auto pool = StartPool();
  for (int i = 0; i < 256; ++i) {
    const auto module = MakeModule(
        fmt::format("const n = {}; export const transformEvent = (e) => ({{...e, n}});", i));
    REQUIRE(Call(*pool, module, {"{}"})[0].value == fmt::format(R"({{"n":{}}})", i));
  }
  // Each keeps a heap of 4 MB; the worker does not keep them all.
  for (int i = 0; i < 40; ++i) {
    const auto module = MakeModule(
        "const kept = []; export const transformEvent = () => {"
        " kept.push('x'.repeat(4e6)); return {n: kept.length}; };");
    REQUIRE(Call(*pool, module, {"{}"})[0].value == R"({"n":1})");
  }
  const size_t peak = WorkerView::Find().peak_bytes;
  WARN("a worker with 256 modules took " << (peak >> 20) << " MiB");
  if (kMeasured) CHECK(peak < (160 << 20));
  CHECK(pool->stats().workers_lost == 0);
}

}  // namespace
}  // namespace millrace::script
