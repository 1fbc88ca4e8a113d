#include <catch2/catch.hpp>

#include <algorithm>
#include <future>

#include "libs/transformation/transformer_testing.h"

namespace millrace::transformation {
namespace {

using Texts = std::vector<std::string>;

TEST_CASE("transformEvent gives an object, several, none or an error") {
  TestFactory test;
  struct Case {
    const char* name;
    const char* body;
    Texts outputs;
  };
  const auto c = GENERATE(values<Case>({
      {"the event", "event.seen = true; return event;", {R"({"n":1,"seen":true})"}},
      {"another", "return {other: event.n};", {R"({"other":1})"}},
      {"nothing", "return;", {}},
      {"null", "return null;", {}},
      {"several", "return [event, {n: 2}];", {R"({"n":1})", R"({"n":2})"}},
      {"none of several", "return [];", {}},
      {"a promise", "return Promise.resolve({n: 3});", {R"({"n":3})"}},
      {"a promise of several",
       "return (async () => [{n: 3}, {n: 4}])();",
       {R"({"n":3})", R"({"n":4})"}},
      {"an error", "throw new RangeError('too far');", {"thrown: RangeError: too far"}},
      {"an object that is no error", "throw {code: 5};", {"thrown: the script threw {\"code\":5}"}},
      {"an object with a text of its own",
       "throw {toString: () => 'mine'};",
       {"thrown: the script threw mine"}},
      {"a text", "throw 'just so';", {"thrown: just so"}},
      {"nothing at all", "throw undefined;", {"thrown: the script threw undefined"}},
      {"an error that only speaks of memory",
       "throw new Error('the printer is out of memory');",
       {"thrown: Error: the printer is out of memory"}},
      {"an error that only speaks of the stack",
       "throw new Error('Maximum call stack size exceeded');",
       {"thrown: Error: Maximum call stack size exceeded"}},
      {"a promise that fails",
       "return Promise.reject(new Error('later'));",
       {"thrown: Error: later"}},
      {"a number",
       "return 5;",
       {"invalid_result: transformEvent returned a number: "
        "return an object, an array of objects, or nothing to drop the event"}},
      {"a flag",
       "return false;",
       {"invalid_result: transformEvent returned a boolean: "
        "return an object, an array of objects, or nothing to drop the event"}},
      {"one of several is none",
       "return [event, null];",
       {"invalid_result: returned event in events array from transformEvent(event) is not an "
        "object "
        "but null, at index 1"}},
      {"an array in an array",
       "return [[event]];",
       {"invalid_result: returned event in events array from transformEvent(event) is not an "
        "object "
        "but an array, at index 0"}},
      {"an object that writes itself as a text",
       "return {toJSON: () => 'text'};",
       {"invalid_result: returned event is not an object once it is written as JSON"}},
      {"a map",
       "return new Map([['n', 1]]);",
       {"invalid_result: transformEvent returned a Map: "
        "return an object, an array of objects, or nothing to drop the event"}},
  }));
  CAPTURE(c.name);
  CHECK(test.Run(std::string("export function transformEvent(event) {") + c.body + "}",
                 {R"({"n":1})"}) == c.outputs);
}

TEST_CASE("an event at fault costs only itself") {
  TestFactory test;
  const std::string bad = "if (e.n === 1) throw new Error('one'); if (e.n === 2) while (true);";
  const Texts outputs = test.Run("export function transformEvent(e) {" + bad + "return e; }",
                                 {R"({"n":0})", R"({"n":1})", R"({"n":2})", R"({"n":3})"});
  REQUIRE(outputs.size() == 4);
  CHECK(outputs[0] == R"({"n":0})");
  CHECK(outputs[1] == "thrown: Error: one");
  CHECK(outputs[2].substr(0, 8) == "timeout:");
  CHECK(outputs[3] == R"({"n":3})");
}

TEST_CASE("transformBatch: what it returns is matched to its inputs") {
  TestFactory test;
  struct Case {
    const char* name;
    const char* body;
    std::vector<size_t> counts;  // of the events of each input
    Texts texts;
  };
  const auto c = GENERATE(values<Case>({
      {"all",
       "return events;",
       {1, 1, 1},
       {R"({"messageId":"a"})", R"({"messageId":"b"})", R"({"messageId":"c"})"}},
      {"filtered",
       "return events.filter((e) => e.messageId === 'b');",
       {0, 1, 0},
       {R"({"messageId":"b"})"}},
      {"turned round",
       "return events.reverse();",
       {1, 1, 1},
       {R"({"messageId":"a"})", R"({"messageId":"b"})", R"({"messageId":"c"})"}},
      {"copies",
       "return events.map((e) => ({...e, n: 1})).slice(1);",
       {0, 1, 1},
       {R"({"messageId":"b","n":1})", R"({"messageId":"c","n":1})"}},
      {"one more",
       "return [...events, {...events[1], twice: 1}];",
       {1, 2, 1},
       {R"({"messageId":"a"})", R"({"messageId":"b"})", R"({"messageId":"b","twice":1})",
        R"({"messageId":"c"})"}},
      {"without ids", "return events.map(() => ({}));", {1, 1, 1}, {"{}", "{}", "{}"}},
      {"ids of its own",
       "events.forEach((e, at) => { e.messageId = 'n' + at; }); return events.slice(2);",
       {0, 0, 1},
       {R"({"messageId":"n2"})"}},
      {"a promise",
       "return Promise.resolve(events.slice(0, 1));",
       {1, 0, 0},
       {R"({"messageId":"a"})"}},
      {"one is none",
       "events[1] = 7; return events;",
       {1, 0, 1},
       {R"({"messageId":"a"})",
        "invalid_result: returned event in events array from transformBatch(events) is not an "
        "object "
        "but a number, at index 1",
        R"({"messageId":"c"})"}},
  }));
  CAPTURE(c.name);
  const auto outputs =
      test.Outputs(std::string("export function transformBatch(events) {") + c.body + "}",
                   {R"({"messageId":"a"})", R"({"messageId":"b"})", R"({"messageId":"c"})"});
  REQUIRE(outputs.size() == 3);
  for (size_t i = 0; i < 3; ++i) CHECK(outputs[i].events.size() == c.counts[i]);
  CHECK(TestFactory::Texts(outputs) == c.texts);
}

TEST_CASE("a poison event in a batch costs only itself") {
  TestFactory test;
  std::vector<std::string> events;
  for (int i = 0; i < 205; ++i)
    events.push_back(fmt::format(R"({{"messageId":"m{}","n":{}}})", i, i));
  struct Case {
    const char* name;
    const char* poison;
    const char* error;
  };
  const auto c = GENERATE(values<Case>({
      {"throws", "throw new Error('poison')", "thrown: Error: poison"},
      {"loops", "while (true);", "timeout: "},
      {"grows", "const all = []; while (true) all.push('x'.repeat(1e5) + all.length)", "memory: "},
      {"cannot be written", "e.self = e", "result_too_large: "},
  }));
  CAPTURE(c.name);
  const auto outputs = test.Outputs(std::string("export function transformBatch(events) { for "
                                                "(const e of events) { e.batch = events.length; "
                                                "if (e.n === 103) { ") +
                                        c.poison + "; } } return events; }",
                                    events);
  REQUIRE(outputs.size() == 205);
  for (size_t i = 0; i < outputs.size(); ++i) {
    CAPTURE(i);
    if (i == 103) {
      const Texts texts = TestFactory::Texts({outputs[i]});
      REQUIRE(texts.size() == 1);
      CHECK(texts[0].substr(0, std::string(c.error).size()) == c.error);
      continue;
    }
    CHECK(outputs[i].error.empty());
    REQUIRE(outputs[i].events.size() == 1);
    // Groups of 100; the one of the poison one by one.
    const int size = i < 100 ? 100 : i < 200 ? 1 : 5;
    CHECK(outputs[i].events[0].view() ==
          fmt::format(R"({{"messageId":"m{}","n":{},"batch":{}}})", i, i, size));
  }
}

TEST_CASE("transformBatch that returns no array is told so") {
  TestFactory test;
  CHECK(test.Run("export const transformBatch = () => {};", {"{}"}) ==
        Texts{"invalid_result: transformBatch returned undefined: return an array of events; an "
              "event that is not in it is dropped"});
  CHECK(test.Run("export const transformBatch = (events) => events[0];", {"{}"}) ==
        Texts{"invalid_result: transformBatch returned an Object: return an array of events; an "
              "event that is not in it is dropped"});
}

TEST_CASE("the legacy contract: a script with transform(events)") {
  TestFactory test;
  CHECK(test.Run("function transform(events) { return events.filter((e) => e.n > 1).map((e) => "
                 "({...e, job: "
                 "metadata(e).jobId})); }",
                 {R"({"n":1,"messageId":"m0"})", R"({"n":2,"messageId":"m1"})"}) ==
        Texts{R"({"n":2,"messageId":"m1","job":1})"});
}

TEST_CASE("metadata has all its fields, of the event that is asked for") {
  TestFactory test;
  RunContext context;
  context.metadata_json =
      std::make_shared<const std::string>(R"({"sourceId":"s1","destinationId":"d1"})");
  const std::string pick =
      "const pick = (m) => [m.sourceId, m.destinationId, m.messageId, m.jobId, m.transformationId, "
      "m.transformationVersionId, Object.keys(m).length];";
  const Texts wanted = {R"({"m":["s1","d1","m0",0,"t1","v1",29]})",
                        R"({"m":["s1","d1","m1",1,"t1","v1",29]})"};
  const std::vector<std::string> events = {R"({"messageId":"m0"})", R"({"messageId":"m1"})"};
  const auto run = [&](const std::string& code) {
    return TestFactory::Texts(test.Outputs(pick + code, events, context));
  };
  CHECK(run("export const transformEvent = (e, metadata) => ({m: pick(metadata(e))});") == wanted);
  CHECK(run("export async function transformEvent(e, own) { await null; return {m: pick(own(e))}; "
            "}") == wanted);
  CHECK(run("export const transformEvent = (e) => ({m: pick(metadata(e))});") == wanted);
  CHECK(run("export const transformBatch = (es, own) => es.map((e) => ({m: pick(own(e))}));") ==
        wanted);
  CHECK(
      run("export const transformBatch = (es) => es.map((e) => ({m: pick(metadata({...e}))}));") ==
      wanted);
  CHECK(run("export const transformBatch = (es, own) => es.map(() => ({m: own({}).sourceId}));") ==
        Texts{R"({"m":"s1"})", R"({"m":"s1"})"});
}

TEST_CASE("stacks are in the user's own lines") {
  TestFactory test;
  test.AddLibrary("adder", "\nexport function add(a) {\n  return a + missing;\n}\n", "adder-1");
  const auto outputs = test.Outputs(
      "import {add} from 'adder';\nexport function transformEvent(event) {\n  return {n: "
      "add(1)};\n}",
      {"{}"});
  CHECK(outputs[0].error == "ReferenceError: missing is not defined");
  CHECK(outputs[0].stack ==
        "    at add (library adder:3:14)\n    at transformEvent (transformation:3:14)\n");
}

TEST_CASE("an error tells what it was caused by") {
  TestFactory test;
  const auto stack = [&](const std::string& body) {
    return test.Outputs("export async function transformEvent(e) {\n" + body + "\n}", {"{}"})[0]
        .stack;
  };
  CHECK(stack("throw new Error('outer', {cause: new TypeError('inner')});") ==
        "    at transformEvent (transformation:2:38)\n"
        "Caused by: TypeError: inner\n"
        "    at transformEvent (transformation:2:38)\n");
  CHECK_THAT(stack("await Promise.any([Promise.reject(new Error('a')), Promise.reject({b: 1})]);"),
             Catch::Contains("Caused by: Error: a\n") &&
                 Catch::EndsWith("Caused by: the script threw {\"b\":1}\n"));
  const std::string round = stack("const a = new Error('a'); a.cause = a; throw a;");
  CHECK(std::count(round.begin(), round.end(), '\n') == 9);
  CHECK(stack("const a = new Error('a'); Object.defineProperty(a, 'cause', {get() { throw 1; }}); "
              "throw a;") == "    at transformEvent (transformation:2:15)\n");
}

TEST_CASE("an error of the host has a stack in the user's own lines, and nothing but those") {
  TestFactory test({{.failed = true, .text = "no route"}, {.failed = true, .text = "no route"}});
  const auto thrown = test.Outputs(
      "export async function transformEvent(event) {\n  await fetchV2('x');\n  return event;\n}",
      {"{}"});
  CHECK(thrown[0].error == "Error: no route");
  CHECK(thrown[0].stack == "    at transformEvent (transformation:2:9)\n");
  const auto shown = test.Run(
      "export async function transformEvent() {\n"
      "  try { await fetchV2('x'); } catch (e) { return {stack: e.stack}; }\n}",
      {"{}"});
  CHECK(shown == Texts{R"({"stack":"    at transformEvent (transformation:2:15)\n"})"});
  CHECK(test.Run("export const transformEvent = () => ({stack: new Error('x').stack});", {"{}"}) ==
        Texts{R"({"stack":"    at transformEvent (transformation:1:50)\n"})"});
}

TEST_CASE("while the code loads, the clock is that of the event it is loaded for") {
  TestFactory test;
  const std::string code =
      "const loaded = Date.now(), chance = Math.random();"
      "export function transformEvent(event) { if (event.loop) for (;;); return {loaded, "
      "now: Date.now(), other: chance !== Math.random()}; }";
  const std::string good = R"({"loaded":1767225600000,"now":1767225600000,"other":true})";
  const Texts outputs = test.Run(code, {"{}", R"({"loop":1})", "{}"});
  REQUIRE(outputs.size() == 3);
  CHECK(outputs[0] == good);
  CHECK(outputs[2] == good);  // in a heap that was made anew
}

TEST_CASE("outputs that there is no room for are dropped, also of a batch") {
  TestFactory test;
  for (const char* code :
       {"export const transformEvent = (e) => ({...e, x: 'x'.repeat(1000)});",
        "export const transformBatch = (es) => es.map((e) => ({...e, x: 'x'.repeat(1000)}));"}) {
    INFO(code);
    RunContext context;
    context.output_budget = std::make_shared<ByteBudget>(150'000);
    const auto outputs = test.Outputs(code, std::vector<std::string>(250, "{}"), context);
    size_t held = 0;
    for (const Output& output : outputs) {
      for (const Bytes& event : output.events) held += event.size();
    }
    CHECK(held > 90'000);
    CHECK(held <= 150'000);
    CHECK(outputs.back().error_class == "result_too_large");
    CHECK(outputs.back().again);
  }
}

TEST_CASE("several Runs of one transformer may be under way") {
  TestFactory test;
  auto made = test.factory->Make(
      test.Version("export async function transformEvent(e) { await fetchV2('x'); return e; }"),
      test.workspace);
  REQUIRE(made.ok());
  std::vector<std::future<Texts>> runs;
  for (int run = 0; run < 4; ++run) {
    runs.push_back(std::async(std::launch::async, [&, run] {
      std::vector<std::string> events;
      for (int i = 0; i < 50; ++i) events.push_back(fmt::format(R"({{"n":{}}})", 100 * run + i));
      return test.Run(**made, events);
    }));
  }
  for (int run = 0; run < 4; ++run) {
    const Texts texts = runs[static_cast<size_t>(run)].get();
    REQUIRE(texts.size() == 50);
    CHECK(texts.front() == fmt::format(R"({{"n":{}}})", 100 * run));
    CHECK(texts.back() == fmt::format(R"({{"n":{}}})", 100 * run + 49));
  }
}

/// Never answers until it is gone.
class HoldingFetcher final : public Fetcher {
 public:
  void Fetch(std::string_view, std::string_view,
             std::function<void(script::HostAnswer)> done) override {
    held_.push_back(std::move(done));
    if (held_.size() == 1) asked_.set_value();
  }
  void Wait() { asked_.get_future().wait(); }

 private:
  std::vector<std::function<void(script::HostAnswer)>> held_;
  std::promise<void> asked_;
};

TEST_CASE("when the pool ends, events under way may be tried again") {
  const bool batch = GENERATE(false, true);
  CAPTURE(batch);
  TestFactory test;
  HoldingFetcher fetcher;
  auto factory = MakeTransformerFactory({.pool = test.pool.get(), .fetcher = &fetcher});
  auto made = factory->Make(
      test.Version(
          batch ? "export const transformBatch = async (es) => { await fetchV2('x'); return es; };"
                : "export const transformEvent = async (e) => { await fetchV2('x'); return e; };"),
      test.workspace);
  REQUIRE(made.ok());
  std::promise<std::vector<Output>> promise;
  std::vector<Input> inputs(3);
  for (Input& input : inputs) input.event = Bytes(std::string("{}"));
  (*made)->Run(std::move(inputs), {},
               [&](std::vector<Output> outputs) { promise.set_value(std::move(outputs)); });
  made->reset();  // what is under way needs neither transformer nor factory
  factory.reset();
  fetcher.Wait();
  test.pool.reset();
  const auto outputs = promise.get_future().get();
  REQUIRE(outputs.size() == 3);
  for (const Output& output : outputs) {
    CHECK(output.again);
    CHECK(output.error_class == "engine");
    CHECK(output.events.empty());
  }
}

TEST_CASE("a Run of nothing is done at once") {
  TestFactory test;
  CHECK(test.Outputs("export const transformEvent = (e) => e;", {}).empty());
  CHECK(test.Outputs("export const transformBatch = (e) => e;", {}).empty());
}

}  // namespace
}  // namespace millrace::transformation
