#include <catch2/catch.hpp>

#include <future>
#include <map>
#include <mutex>

#include "libs/script/host.h"
#include "libs/script/worker_pool.h"

namespace millrace::script {
namespace {

// What a transformation's adapter does, in short.
constexpr char kAdapter[] = R"js((host) => {
  globalThis.ask = (...parts) => host.ask(...parts);
  globalThis.askNow = (...parts) => host.askNow(...parts);
  globalThis.host = host;
  return (exports) => {
    const f = exports.transformEvent;
    if (typeof f !== 'function') throw new TypeError('no transformEvent');
    return (event) => f(event);
  };
})js";

std::shared_ptr<const Module> MakeModule(const std::string& source, bool sequential = false,
                                         Limits limits = {}) {
  return std::make_shared<const Module>(Module{.id = "user code",
                                               .source = source,
                                               .adapter = kAdapter,
                                               .wanted_exports = {"transformEvent"},
                                               .sequential = sequential,
                                               .config_json = R"({"c":1})",
                                               .limits = limits});
}

/// Answers "echo" with its arguments, "fail" with an error; keeps "hold" until Release.
class TestHost final : public Host {
 public:
  void Ask(HostCall call, std::function<void(HostAnswer)> done) override {
    std::lock_guard lock(mu_);
    log_ += fmt::format("{}:{}{} ", call.input, call.name, call.arguments);
    if (call.name == "echo") return done({.text = call.arguments});
    if (call.name == "fail") {
      return done({.failed = true, .text = "no luck", .error_name = "LuckError"});
    }
    held_.push_back(std::move(done));
    if (held_.size() == release_at_) Release();
  }
  void Ended(uint32_t input, bool well) override {
    std::lock_guard lock(mu_);
    log_ += fmt::format("{}:{} ", input, well ? "well" : "ill");
  }
  /// Answers all that is held, the last one first, once so many are.
  void ReleaseAt(size_t count) { release_at_ = count; }
  std::string log() {
    std::lock_guard lock(mu_);
    return log_;
  }

 private:
  void Release() {
    while (!held_.empty()) {
      const auto done = std::move(held_.back());
      held_.pop_back();
      done({.text = fmt::format("{}", held_.size())});
    }
  }
  std::mutex mu_;
  std::string log_;
  std::vector<std::function<void(HostAnswer)>> held_;
  size_t release_at_ = 1;
};

struct Bench {
  std::unique_ptr<WorkerPool> pool;
  std::shared_ptr<TestHost> host = std::make_shared<TestHost>();

  explicit Bench(ScriptSettings settings = {}) {
    auto started = WorkerPool::Start(settings);
    REQUIRE(started.ok());
    pool = *std::move(started);
  }
  std::vector<CallOutput> Run(const std::shared_ptr<const Module>& module,
                              std::vector<CallInput> inputs, CallOptions options) {
    std::promise<std::vector<CallOutput>> promise;
    pool->Call(module, std::move(inputs), std::move(options),
               [&](std::vector<CallOutput> outputs) { promise.set_value(std::move(outputs)); });
    return promise.get_future().get();
  }
  std::vector<CallOutput> Run(const std::shared_ptr<const Module>& module,
                              const std::vector<std::string>& events) {
    std::vector<CallInput> inputs;
    for (const std::string& event : events) inputs.push_back({.event = Bytes(event)});
    return Run(module, std::move(inputs), {.host = host});
  }
  CallOutput RunOne(const std::string& source, const std::string& event = "{}") {
    return Run(MakeModule(source), {event}).at(0);
  }
};

TEST_CASE("an adapter decides what is called and what it finds") {
  Bench bench;
  const auto module = MakeModule(
      "export function transformEvent(event) { host.log('seen', event.n);"
      " host.emit(7, {twice: event.n * 2}); host.emit(8, undefined);"
      " host.fail(9, 'bad', 'RangeError', '    at f (user code:1:1)\\n    at g "
      "(<adapter>:1:1)\\n');"
      " return [host.shared, host.extra, host.config, host.test]; }");
  const auto outputs = bench.Run(
      module,
      {{.event = Bytes("{\"n\":2}"), .extra_json = "{\"x\":1}"}, {.event = Bytes("{\"n\":3}")}},
      {.shared_json = std::make_shared<const std::string>("[1,2]"), .test = true});
  CHECK(outputs[0].value == R"([[1,2],{"x":1},{"c":1},true])");
  CHECK(outputs[1].value == R"([[1,2],null,{"c":1},true])");
  CHECK(outputs[0].log == "seen 2\n");
  REQUIRE(outputs[0].emitted.size() == 3);
  CHECK(outputs[0].emitted[0].index == 7);
  CHECK(outputs[0].emitted[0].text == R"({"twice":4})");
  CHECK(outputs[0].emitted[1].text == "null");
  CHECK(outputs[0].emitted[2].failed);
  CHECK(outputs[0].emitted[2].text == "RangeError: bad");
  CHECK(outputs[0].emitted[2].stack == "    at f (user code:1:1)\n");
}

TEST_CASE("a plain function counts as exported when no wanted name is") {
  Bench bench;
  CHECK(bench.RunOne("function transformEvent(event) { return event; }", "{\"a\":1}").value ==
        "{\"a\":1}");
  const Status none = bench.pool->Load(MakeModule("function other() {}"));
  CHECK_THAT(std::string(Message(none)), Catch::Contains("no transformEvent"));
  const CallOutput thrown =
      bench.RunOne("\n  function transformEvent() { throw new TypeError('x'); }");
  CHECK(thrown.error == "TypeError: x");
  CHECK(thrown.stack == "    at transformEvent (user code:2:41)\n");
}

TEST_CASE("scripts ask their host and wait") {
  Bench bench;
  CHECK(bench
            .RunOne("export async function transformEvent(e) { return await ask('echo', 1, e); }",
                    "{\"a\":2}")
            .value == R"([1,{"a":2}])");
  CHECK(bench.RunOne("export const transformEvent = (e) => askNow('echo', e.a);", "{\"a\":2}")
            .value == "[2]");
  const std::string caught =
      "export async function transformEvent() { try { ASK('fail'); } catch (e) {"
      " return [e instanceof Error, e.name, e.message]; } }";
  for (const char* ask : {"await ask", "askNow"}) {
    std::string source = caught;
    source.replace(source.find("ASK"), 3, ask);
    CHECK(bench.RunOne(source).value == R"([true,"LuckError","no luck"])");
  }
  const auto no_host = bench.Run(MakeModule("export const transformEvent = () => ask('echo');"),
                                 {{.event = Bytes("{}")}}, {});
  CHECK(no_host[0].error == "Error: there is no host to ask");
  CHECK_THAT(
      bench.RunOne("export const transformEvent = () => ask('echo', 'x'.repeat(5e6));").error,
      Catch::Contains("4194304 bytes"));
  CHECK_THAT(bench
                 .RunOne("export const transformEvent = () => Promise.all(Array.from({length: 65},"
                         " () => ask('hold')));")
                 .error,
             Catch::Contains("too many questions"));
}

TEST_CASE("while calls wait others go on, and each stays itself") {
  Bench bench;
  bench.host->ReleaseAt(3);
  const auto module = MakeModule(
      "let shared;"
      "export async function transformEvent(e) {"
      "  shared = shared || ask('hold', 'shared');"  // asked by the first, awaited by all
      "  const both = [await shared, await ask('echo', e.n)];"
      "  host.log('after', e.n); host.emit(e.n, e.n);"
      "  return [both[1][0], host.extra]; }");
  bench.host->ReleaseAt(1);
  std::vector<CallInput> inputs;
  for (int i = 0; i < 5; ++i) {
    inputs.push_back(
        {.event = Bytes(fmt::format("{{\"n\":{}}}", i)), .extra_json = std::to_string(100 + i)});
  }
  const auto outputs = bench.Run(module, std::move(inputs), {.host = bench.host});
  for (uint32_t i = 0; i < 5; ++i) {
    CHECK(outputs[i].value == fmt::format("[{},{}]", i, 100 + i));
    CHECK(outputs[i].log == fmt::format("after {}\n", i));
    REQUIRE(outputs[i].emitted.size() == 1);
    CHECK(outputs[i].emitted[0].index == i);
  }
}

TEST_CASE("answers may come in any order; order and sequence hold") {
  Bench bench;
  const std::string source =
      "let running = 0, most = 0;"
      "export async function transformEvent(e) {"
      "  most = Math.max(most, ++running); await ask('hold'); --running; return most; }";
  const auto run = [&](bool sequential, uint64_t order, size_t release_at) {
    bench.host->ReleaseAt(release_at);
    std::vector<CallInput> inputs(4);
    for (CallInput& input : inputs) {
      input.event = Bytes("{}");
      input.order = order;
    }
    return bench.Run(MakeModule(source, sequential), std::move(inputs), {.host = bench.host})
        .back()
        .value;
  };
  CHECK(run(false, 0, 4) == "4");
  CHECK(run(true, 0, 1) == "1");
  CHECK(run(false, 9, 1) == "1");
}

TEST_CASE("a promise that nothing can settle is an error at once") {
  Bench bench;
  const CallOutput never =
      bench.RunOne("export const transformEvent = () => new Promise(() => 0);");
  CHECK(never.error_class == ErrorClass::kTimeout);
  CHECK_THAT(never.error, Catch::Contains("never settle"));
}

TEST_CASE("what there is no room for is dropped") {
  Bench bench;
  const auto module = MakeModule(
      "export function transformEvent(event) {"
      " if (event.emit) { host.emit(0, 'x'.repeat(100000)); return null; }"
      " return 'x'.repeat(event.n); }");
  std::vector<CallInput> inputs;
  for (const char* event : {R"({"n":100000})", R"({"emit":1})", R"({"n":100000})", R"({"n":1})"})
    inputs.push_back({.event = Bytes(event)});
  const auto budget = std::make_shared<ByteBudget>(250'000);
  const auto outputs =
      bench.Run(module, std::move(inputs), {.host = bench.host, .output_budget = budget});
  CHECK(outputs[0].value.size() == 100'002);
  CHECK(outputs[1].emitted.size() == 1);
  for (const size_t i : {2, 3}) {
    CHECK(outputs[i].outcome == Outcome::kEngineFault);
    CHECK(outputs[i].error_class == ErrorClass::kResultTooLarge);
    CHECK(outputs[i].value.empty());
  }
  CHECK(budget->overdrawn());
}

TEST_CASE("the host is told how calls end, and of those that run again") {
  Bench bench;
  CHECK(bench.RunOne("export function transformEvent() { throw 1; }").error ==
        "the script threw 1");
  CHECK(bench.host->log() == "0:ill ");
  Limits limits;
  limits.cpu_time = std::chrono::milliseconds(50);
  // The second call ends the worker while the first waits.
  bench.host->ReleaseAt(2);
  const auto module = MakeModule(
      "export async function transformEvent(e) {"
      "  if (e.loop) Array(1e9).join(''); await ask('hold'); return 1; }",
      false, limits);
  const auto outputs = bench.Run(module, {"{}", "{\"loop\":1}"});
  CHECK(outputs[0].value == "1");
  CHECK(outputs[1].error_class == ErrorClass::kTimeout);
#ifndef __SANITIZE_THREAD__  // which keeps the signal back, so that the pool has to end the worker
  CHECK_THAT(outputs[1].error, Catch::Contains("50 ms") && Catch::Contains("native function"));
#endif
  CHECK(bench.pool->stats().workers_lost == 1);
  CHECK(bench.host->log() == "0:ill 0:hold[] 0:ill 1:ill 0:hold[] 0:well ");
}

TEST_CASE("a job gets a worker whose calls all wait") {
  Bench bench;
  bench.host->ReleaseAt(2);
  const auto module = MakeModule("export const transformEvent = (e) => e.hold ? ask('hold') : 1;");
  std::promise<std::vector<CallOutput>> held;
  bench.pool->Call(module, {{.event = Bytes("{\"hold\":1}")}}, {.host = bench.host},
                   [&](std::vector<CallOutput> outputs) { held.set_value(std::move(outputs)); });
  CHECK(bench.Run(MakeModule("export const transformEvent = () => 2;"), {"{}"})[0].value == "2");
  CHECK(bench.Run(module, {"{}"})[0].value == "1");
  CHECK(bench.Run(module, {"{\"hold\":1}"})[0].value == "1");
  CHECK(held.get_future().get()[0].value == "0");
}

TEST_CASE("a broken limit costs its own call; what waited runs again") {
  Bench bench;
  Limits limits;
  limits.cpu_time = std::chrono::milliseconds(50);
  bench.host->ReleaseAt(2);
  const auto outputs =
      bench.Run(MakeModule("export async function transformEvent(e) {"
                           " if (e.loop) for (;;); return [await ask('hold')].length; }",
                           false, limits),
                {"{}", "{\"loop\":1}"});
  CHECK(outputs[0].value == "1");
  CHECK(outputs[1].error_class == ErrorClass::kTimeout);
  CHECK(bench.pool->stats().workers_lost == 0);
}

TEST_CASE("sources are inspected without running them") {
  Bench bench;
  SourceFault fault;
  const auto found =
      bench.pool->Inspect("lib",
                          "import a from 'one'; import {b} from \"two\"; export {c} from 'three';\n"
                          "export const x = a; export default function () { throw b; } for (;;);",
                          &fault);
  REQUIRE(found.ok());
  CHECK(found->imports == std::vector<std::string>{"one", "two", "three"});
  CHECK(found->exports == std::vector<std::string>{"c", "x", "default"});
  CHECK(!bench.pool->Inspect("lib", "const a = 1;\nconst b = ;\n", &fault).ok());
  CHECK(fault.line == 2);
  CHECK(fault.column == 11);
  CHECK_THAT(fault.message, Catch::Contains("SyntaxError"));
}

TEST_CASE("what does not load is explained") {
  Bench bench;
  const auto refusal = [&](const std::string& source, const std::string& library = "export {};") {
    auto module = std::make_shared<Module>(*MakeModule(source));
    module->libraries = {{"lib", library}};
    const Status status = bench.pool->Load(module);
    CHECK(status.code() == StatusCode::kInvalidArgument);
    return std::string(Message(status));
  };
  CHECK_THAT(refusal("let x = 1;\nlet x = 2;"),
             Catch::Contains("user code: SyntaxError") && Catch::Contains("(line 2, column"));
  CHECK_THAT(refusal("\nimport {a} from 'absent';"),
             Catch::Contains("import from 'absent' failed: there is no library of that name "
                             "(line 2, column 17)"));
  CHECK_THAT(refusal("import {a, b} from 'lib';", "export const a = 1;"),
             Catch::Contains("import from 'lib' failed: the library does not export 'b' "
                             "(line 1, column 12)"));
  CHECK_THAT(refusal("import 'lib';", "\nlet = 5 +;"),
             Catch::Contains("library lib: SyntaxError") && Catch::Contains("(line 2, column"));
  CHECK_THAT(refusal("import 'lib';", "\nnull.x;"),
             Catch::Contains("library lib: TypeError") && Catch::Contains("(line 2, column"));
  CHECK_THAT(refusal("await new Promise(() => 0); export const transformEvent = 1;"),
             Catch::Contains("never settle"));
}

}  // namespace
}  // namespace millrace::script
