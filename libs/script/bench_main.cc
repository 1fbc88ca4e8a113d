#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <future>
#include <string_view>
#include <thread>

#include "libs/script/worker_pool.h"

// What scripts cost: CPU time of this process and its worker for each event of 1 KB, in batches of
// 100, boundary and all: script_bench [events]. Or what others notice of hostile scripts:
// script_bench --neighbour
namespace millrace::script {
namespace {

constexpr char kEvent[] =
    R"j({"type":"track","event":"Order Completed","userId":"user-8812",)j"
    R"j("anonymousId":"0f9c2d51-7a4e-4a3c-9f6e-2c1d8b7e6a55","channel":"web",)j"
    R"j("messageId":"b7f3a1c2-55d1-4c9a-8e2f-9a7b6c5d4e3f","request_ip":"203.0.113.77",)j"
    R"j("originalTimestamp":"2026-03-02T10:15:30.123Z","sentAt":"2026-03-02T10:15:30.456Z",)j"
    R"j("receivedAt":"2026-03-02T10:15:30.789Z","timestamp":"2026-03-02T10:15:30.123Z",)j"
    R"j("rudderId":"4c1e9a2b-1111-4222-8333-444455556666","context":{"app":{"name":"Shop",)j"
    R"j("version":"3.2.1"},"library":{"name":"js","version":"2.48.0"},"locale":"en-GB",)j"
    R"j("page":{"path":"/done","referrer":"https://www.example.com/","title":"Thank you"},)j"
    R"j("screen":{"density":2,"height":900,"width":1440},"userAgent":"Mozilla/5.0 (X11; Linux)",)j"
    R"j("traits":{"plan":"pro"}},"properties":{"order_id":"o-20260302-77","currency":"EUR",)j"
    R"j("total":129.9,"coupon":null,"products":[{"product_id":"p-1","name":"Shirt","price":29.9,)j"
    R"j("quantity":1},{"product_id":"p-2","name":"Shoes","price":100,"quantity":1}]}})j";

struct Case {
  const char* name;
  const char* source;
};
constexpr Case kCases[] = {
    {"identity", "export function transformEvent(event) { return event; }"},
    {"add a field", "export function transformEvent(event) { event.added = true; return event; }"},
    {"add a nested field",
     "export function transformEvent(event) { event.context.added = event.event; return event; }"},
    {"spread", "export function transformEvent(event) { return {...event, added: 1}; }"},
    {"async", "export async function transformEvent(event) { event.added = true; return event; }"},
    {"read everything",
     "export function transformEvent(event) { return JSON.parse(JSON.stringify(event)); }"},
    {"drop",
     "export function transformEvent(event) { if (event.type === 'track') return; return event; }"},
};

constexpr char kAdapter[] =
    "(host) => (exports) => { const entry = exports.transformEvent; const meta = () => host.extra;"
    " const then = (r, use) => typeof r?.then === 'function' ? Promise.resolve(r).then(use) : "
    "use(r);"
    " return (event) => then(entry(event, meta), (r) => r); }";

double CpuUs(int who) {
  rusage usage{};
  getrusage(who, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

Status Measure(const Case& test, size_t events) {
  const double children = CpuUs(RUSAGE_CHILDREN);
  double own = 0;
  {
    MR_ASSIGN_OR_RETURN(auto pool, WorkerPool::Start({}));
    const auto module = std::make_shared<const Module>(
        Module{.id = "bench", .source = test.source, .adapter = kAdapter});
    MR_RETURN_IF_ERROR(pool->Load(module));
    const Bytes event{std::string(kEvent)};
    own = CpuUs(RUSAGE_SELF);
    std::deque<std::future<bool>> open;
    for (size_t sent = 0; sent < events; sent += 100) {
      std::vector<CallInput> inputs(100);
      for (CallInput& input : inputs) {
        input.event = event;
        input.seed = "b7f3a1c2-55d1-4c9a-8e2f-9a7b6c5d4e3f";
        input.extra_json = R"({"messageId":"b7f3a1c2-55d1-4c9a-8e2f-9a7b6c5d4e3f"})";
      }
      auto promise = std::make_shared<std::promise<bool>>();
      open.push_back(promise->get_future());
      pool->Call(module, std::move(inputs), [promise](std::vector<CallOutput> outputs) {
        bool well = true;
        for (const CallOutput& output : outputs) well &= output.error.empty();
        promise->set_value(well);
      });
      if (open.size() < 3) continue;
      if (!open.front().get()) return MakeStatus(StatusCode::kInternal, "an event failed");
      open.pop_front();
    }
    for (auto& each : open) each.wait();
    own = CpuUs(RUSAGE_SELF) - own;
  }
  const double worker = CpuUs(RUSAGE_CHILDREN) - children;
  const auto count = static_cast<double>(events);
  std::printf("%-20s %6.2f us an event: pool %.2f, worker %.2f\n", test.name,
              (own + worker) / count, own / count, worker / count);
  return OkStatus();
}

/// Latency of one event after another, each a batch of 20, while `busy` gets all it can hold.
Status MeasureNeighbour(WorkerPool& pool, const std::shared_ptr<const Module>& module,
                        const std::shared_ptr<const Module>& hostile, const char* name) {
  std::atomic<bool> stop{false};
  std::atomic<int> open{0};
  std::thread other([&] {
    while (hostile != nullptr && !stop) {
      if (open >= 4) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        continue;
      }
      ++open;
      pool.Call(hostile, std::vector<CallInput>(5, {.event = Bytes(std::string("{}"))}),
                [&](const std::vector<CallOutput>&) { --open; });
    }
  });
  std::vector<double> took_ms;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (std::chrono::steady_clock::now() < end) {
    const auto start = std::chrono::steady_clock::now();
    std::promise<void> promise;
    pool.Call(module, std::vector<CallInput>(20, {.event = Bytes(std::string(kEvent))}),
              [&](const std::vector<CallOutput>&) { promise.set_value(); });
    promise.get_future().wait();
    took_ms.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
            .count());
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  stop = true;
  other.join();
  std::sort(took_ms.begin(), took_ms.end());
  std::printf("%-26s %5zu batches: median %.2f ms, p99 %.2f ms, worst %.2f ms\n", name,
              took_ms.size(), took_ms[took_ms.size() / 2], took_ms[took_ms.size() * 99 / 100],
              took_ms.back());
  std::fflush(stdout);
  while (open > 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return OkStatus();
}

Status MeasureNeighbours() {
  MR_ASSIGN_OR_RETURN(auto pool, WorkerPool::Start({.workers = 2}));
  const auto make = [](const char* source) {
    Limits limits;
    limits.cpu_time = std::chrono::milliseconds(100);
    limits.memory_bytes = 32 << 20;
    return std::make_shared<const Module>(
        Module{.id = "bench", .source = source, .adapter = kAdapter, .limits = limits});
  };
  const auto module = make(kCases[1].source);
  MR_RETURN_IF_ERROR(pool->Load(module));
  MR_RETURN_IF_ERROR(MeasureNeighbour(*pool, module, nullptr, "alone"));
  const Case hostile[] = {
      {"beside endless loops", "export function transformEvent() { for (;;); }"},
      {"beside native loops",
       "export const transformEvent = () => [].includes.call({length: 2 ** 53 - 1}, 1);"},
      {"beside heap bombs",
       "export function transformEvent() { const a = []; for (;;) a.push('x'.repeat(1e5) + "
       "a.length); }"},
  };
  for (const Case& each : hostile) {
    MR_RETURN_IF_ERROR(MeasureNeighbour(*pool, module, make(each.source), each.name));
  }
  return OkStatus();
}

}  // namespace
}  // namespace millrace::script

int main(int argc, char** argv) {
  millrace::script::MaybeRunWorker(argc, argv);
  if (argc > 1 && std::string_view(argv[1]) == "--neighbour") {
    const auto status = millrace::script::MeasureNeighbours();
    if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(millrace::Message(status)).c_str());
    return status.ok() ? 0 : 1;
  }
  const size_t events = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 50'000;
  std::printf("events of %zu bytes\n", sizeof(millrace::script::kEvent) - 1);
  for (const auto& test : millrace::script::kCases) {
    const auto status = millrace::script::Measure(test, events);
    if (!status.ok())
      return std::fprintf(stderr, "%s\n", std::string(millrace::Message(status)).c_str()), 1;
  }
  return 0;
}
