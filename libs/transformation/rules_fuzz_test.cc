#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdlib>

#include "libs/transformation/rules.h"
#include "libs/transformation/rules_reference.h"

/// Random rules over random events, against the slow implementation.
namespace millrace::transformation {
namespace {

using reference::Json;
using reference::Made;
using reference::Maker;
using reference::Random;

/// JSON of few names, so that rules meet something; with odd white space, escapes, and names twice.
class EventMaker {
 public:
  EventMaker(Random* random, bool twice) : random_(*random), twice_(twice) {}
  std::string Object(int depth) {
    std::string out = "{" + Space();
    std::vector<std::string> names = {"a", "b", "c", "event", "x-y", "1", "other", "q\\\"q"};
    for (size_t left = random_.Below(7); left > 0 && !names.empty(); --left) {
      const size_t pick = random_.Below(names.size());
      std::string name = names[pick];
      if (!twice_ || !random_.Once(3)) names.erase(names.begin() + static_cast<long>(pick));
      if (name == "a" && random_.Once(6)) name = "\\u0061";
      if (out.back() != '{' && out.size() > 1 && out.find(':') != std::string::npos)
        out += "," + Space();
      out += "\"" + name + "\"" + Space() + ":" + Space() + Value(depth + 1) + Space();
    }
    return out + "}";
  }

 private:
  std::string Space() {
    return random_.Once(6) ? random_.Of(std::vector<std::string>{" ", "\n", "\t ", "\r\n"}) : "";
  }
  std::string Value(int depth) {
    if (depth < 4 && random_.Once(3)) return Object(depth);
    if (depth < 4 && random_.Once(4)) {
      std::string out = "[" + Space();
      for (size_t left = random_.Below(4); left > 0; --left) {
        out += Value(depth + 1) + Space();
        if (left > 1) out += "," + Space();
      }
      return out + "]";
    }
    return random_.Of(std::vector<std::string>{
        "\"abc\"", "\"b\"", "\"\"", "\"Q\\n\\u00e9\\\"\"", "\"7\"", "\" 2.5 \"", "7", "-3", "2.5",
        "0", "true", "false", "null", "\"{[,:\"", "\"caf\xc3\xa9 ABCD\"", "\"true\""});
  }

  Random& random_;
  const bool twice_;
};

std::shared_ptr<Transformer> Compile(const std::string& yaml) {
  config::v1::TransformationVersion version;
  version.set_code(yaml);
  auto transformer = RulesTransformer::Compile(version, {});
  if (!transformer.ok()) FAIL(yaml << "\n" << Message(transformer.status()));
  return *transformer;
}

std::vector<Output> RunAll(Transformer& transformer, const std::vector<std::string>& events) {
  std::vector<Input> inputs;
  for (const std::string& event : events) inputs.push_back({.event = Bytes(event)});
  std::vector<Output> outputs;
  transformer.Run(std::move(inputs), {},
                  [&](std::vector<Output> done) { outputs = std::move(done); });
  REQUIRE(outputs.size() == events.size());
  return outputs;
}

size_t Rounds(size_t normal) {
  const char* const text = std::getenv("MILLRACE_FUZZ_ROUNDS");
  return text == nullptr ? normal : std::strtoul(text, nullptr, 10);
}

TEST_CASE("Rules give what a slow implementation gives", "[rules][fuzz]") {
  size_t changed = 0;
  size_t dropped = 0;
  for (size_t round = 0; round < Rounds(3'000); ++round) {
    Random random(round);
    const bool wildcards = random.Once(2);
    Maker maker(&random, wildcards);
    std::vector<Made> made(1 + random.Below(4));
    std::string yaml = "rules:\n";
    for (Made& rule : made) {
      rule = maker.Rule();
      yaml += "- " + rule.yaml + "\n";
    }
    EventMaker events(&random, /*twice=*/!wildcards && random.Once(3));
    std::vector<std::string> batch;
    for (int i = 0; i < 8; ++i) batch.push_back(events.Object(0));
    const auto outputs = RunAll(*Compile(yaml), batch);
    for (size_t i = 0; i < batch.size(); ++i) {
      Json expected = Json::parse(batch[i]);
      const Json before = expected;
      const bool kept =
          std::ranges::all_of(made, [&](const Made& rule) { return rule.run(&expected); });
      INFO("round " << round << "\n" << yaml << batch[i]);
      REQUIRE(outputs[i].error.empty());
      REQUIRE(outputs[i].events.size() == (kept ? 1 : 0));
      dropped += kept ? 0 : 1;
      if (!kept) continue;
      const std::string result(outputs[i].events[0].view());
      INFO("gave     " << result << "\nexpected " << expected.dump());
      REQUIRE(Json::accept(result));
      REQUIRE(Json::parse(result) == expected);
      if (expected == before) continue;
      ++changed;
    }
  }
  if (Rounds(3'000) >= 3'000) {  // the generators must not have lost their bite
    CHECK(changed > 3'000);
    CHECK(dropped > 500);
  }
}

TEST_CASE("Rules take no harm from what is no JSON", "[rules][fuzz]") {
  const auto transformer =
      Compile("rules: [{drop: a.*.b = 1}, {rename: {a.b: c.d}}, {hash: event}, {keep: [b.a]}]");
  size_t good_ones = 0;
  for (size_t round = 0; round < Rounds(20'000); ++round) {
    Random random(round);
    std::string event = EventMaker(&random, true).Object(0);
    for (size_t times = random.Below(3); times > 0 && !event.empty(); --times) {
      const size_t at = random.Below(event.size());
      switch (random.Below(4)) {
        case 0:
          event[at] = static_cast<char>(random.Below(256));
          break;
        case 1:
          event.erase(at, 1 + random.Below(4));
          break;
        case 2:
          event.insert(at, 1, "{}[]:,\"\\ 1et\x01"[random.Below(13)]);
          break;
        default:
          event.resize(at);
      }
    }
    const bool good = Json::accept(event) && Json::parse(event).is_object();
    const Output output = RunAll(*transformer, {event})[0];
    INFO("round " << round << " " << event);
    if (!good) continue;
    ++good_ones;
    REQUIRE(output.error.empty());
    if (!output.events.empty()) REQUIRE(Json::accept(std::string(output.events[0].view())));
  }
  if (Rounds(20'000) >= 20'000) CHECK(good_ones > 5'000);
}

}  // namespace
}  // namespace millrace::transformation
