#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <iostream>
#include <memory>

#include "libs/base/clock.h"
#include "libs/transformation/factory.h"
#include "libs/transformation/memory_state.h"
#include "services/millrace/cli/runner.h"
#include "services/millrace/cli/transform_commands.h"
#include "services/millrace/cli/transform_fixture.h"
#include "services/millrace/cli/transform_project.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;
using transformation::Input;
using transformation::Output;

struct TestArguments {
  std::string folder;
  bool json = false;
};

class TestRun {
 public:
  TestRun(const TestArguments& arguments, script::WorkerPool& pool)
      : arguments_(arguments), pool_(pool) {}

  void Run(const LocalTransformation& local) {
    if (local.fixtures.empty()) {
      // Whether it can be run at all is still told.
      const auto factory = transformation::MakeTransformerFactory({.pool = &pool_});
      const auto made = factory->Make(local.version, local.workspace);
      if (!made.ok()) return Report(local.name, "", std::string(Message(made.status())));
      if (!arguments_.json) Print(fmt::format("note {}: has no tests/*.json\n", local.name));
      return;
    }
    for (const std::string& file : local.fixtures) {
      const auto fixtures = ReadFixtures(file);
      if (!fixtures.ok()) {
        Report(local.name, "", std::string(Message(fixtures.status())));
        continue;
      }
      for (const Fixture& fixture : *fixtures) {
        Report(local.name, fixture.name, RunFixture(local, fixture));
      }
    }
  }

  int Finish() const {
    const std::string sum = fmt::format("{} passed, {} failed\n", passed_, failed_);
    // What is read by a program holds nothing but JSON.
    if (arguments_.json)
      std::cerr << sum;
    else
      Print(sum);
    return failed_ == 0 ? 0 : 1;
  }

 private:
  std::string RunFixture(const LocalTransformation& local, const Fixture& fixture) {
    const auto fetcher = MakeFixtureFetcher(fixture);
    const auto geolocation = MakeFixtureGeolocation(fixture);
    const auto factory = transformation::MakeTransformerFactory(
        {.pool = &pool_, .fetcher = fetcher.get(), .geolocation = geolocation.get()});
    const auto made = factory->Make(local.version, local.workspace);
    if (!made.ok()) return std::string(Message(made.status()));
    const FakeClock clock(fixture.now_us);
    const auto state = transformation::MakeMemoryState(clock);
    transformation::RunContext context;
    context.metadata_json = std::make_shared<const std::string>(fixture.metadata);
    context.state = state.get();
    context.test = true;
    std::vector<Input> inputs;
    for (const std::string& event : fixture.events) {
      const Json document = Json::parse(event, nullptr, false);
      Json own = Json::object();
      if (document.contains("messageId")) own["messageId"] = document["messageId"];
      inputs.push_back({.event = Bytes(event),
                        .metadata_json = own.dump(-1, ' ', false, Json::error_handler_t::replace),
                        .now_us = fixture.now_us,
                        .seed = fixture.name,
                        .user = 1});
    }
    return Judge(fixture, RunAndWait(**made, std::move(inputs), context));
  }

  void Report(const std::string& transformation, const std::string& fixture,
              const std::string& reason) {
    ++(reason.empty() ? passed_ : failed_);
    if (arguments_.json) {
      const Json line = {{"transformation", transformation},
                         {"fixture", fixture},
                         {"outcome", reason.empty() ? "passed" : "failed"},
                         {"reason", reason}};
      Print(line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
      return;
    }
    Print(fmt::format("{} {}{}{}\n", reason.empty() ? "ok  " : "FAIL", transformation,
                      fixture.empty() ? "" : ": ", fixture));
    for (size_t at = 0; at < reason.size();) {
      const size_t end = std::min(reason.find('\n', at), reason.size());
      Print("     " + reason.substr(at, end - at) + "\n");
      at = end + 1;
    }
  }

  const TestArguments& arguments_;
  script::WorkerPool& pool_;
  int passed_ = 0;
  int failed_ = 0;
};

StatusOr<int> Test(const TestArguments& arguments) {
  MR_ASSIGN_OR_RETURN(const std::vector<LocalTransformation> project,
                      ReadProject(arguments.folder));
  MR_ASSIGN_OR_RETURN(const auto pool, script::WorkerPool::Start({}));
  TestRun run(arguments, *pool);
  for (const LocalTransformation& local : project) run.Run(local);
  return run.Finish();
}

}  // namespace

void AddTransformTest(CLI::App& group) {
  CLI::App* command = group.add_subcommand(
      "test", "Run a folder of transformations with their fixtures, without a server");
  const auto arguments = std::make_shared<TestArguments>();
  command->add_option("DIR", arguments->folder, "The folder")->required();
  command->add_flag("--json", arguments->json, "One JSON object per fixture");
  command->footer(
      "Each folder in DIR with a transformation.js or rules.yaml is one transformation. It may "
      "have\n"
      "libraries/*.js (DIR/libraries is for all), credentials.yaml (key: value) and "
      "tests/*.json:\n\n"
      "  {\"name\": \"adds the country\",\n"
      "   \"event\": {\"messageId\": \"m1\", \"type\": \"track\"},\n"
      "   \"fetches\": {\"https://geo.example/\": {\"country\": \"NZ\"}},\n"
      "   \"expect\": {\"events\": [{\"messageId\": \"m1\", \"type\": \"track\", \"country\": "
      "\"NZ\"}]}}\n\n"
      "'expect' holds events, dropped: true, or error: a part of its message. 'events' instead of\n"
      "'event', 'metadata', 'geolocation', 'now' and 'log' may be given too. Nothing is fetched "
      "but\n"
      "what 'fetches' lists. The exit code is 1 when a fixture fails.\n\n"
      "Example: millrace transform test ./transformations");
  SetWork(command, [arguments] { return Test(*arguments); });
}

}  // namespace millrace::cli
