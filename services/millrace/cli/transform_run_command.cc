#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/hash.h"
#include "libs/base/ids.h"
#include "libs/config/json_text.h"
#include "libs/transformation/factory.h"
#include "libs/transformation/memory_state.h"
#include "services/millrace/cli/runner.h"
#include "services/millrace/cli/transform_commands.h"
#include "services/millrace/cli/transform_project.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;
using transformation::Input;
using transformation::Output;

struct RunArguments {
  std::string file;
  std::string metadata = "{}";
  std::string geolocation;
  bool show_logs = false;
  bool allow_fetch = false;
  std::vector<std::string> allowed_networks;
};

/// The lines of standard input, as many at a time as are there.
class LineReader {
 public:
  /// False at the end. A last line without an end counts.
  StatusOr<bool> Read(std::vector<std::string>* lines) {
    lines->clear();
    while (lines->empty() && !ended_) {
      char buffer[64 << 10];
      const ssize_t count = read(STDIN_FILENO, buffer, sizeof(buffer));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) {
        return Error(StatusCode::kUnavailable, "standard input: {}", std::strerror(errno));
      }
      rest_.append(buffer, static_cast<size_t>(count));
      SkipMark();
      ended_ = count == 0;
      if (ended_ && !rest_.empty()) rest_.push_back('\n');
      size_t at = 0;
      for (size_t end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n', at)) {
        lines->push_back(rest_.substr(at, end - at));
        at = end + 1;
      }
      rest_.erase(0, at);
    }
    return !lines->empty();
  }

 private:
  /// Some editors write a byte order mark at the start.
  void SkipMark() {
    constexpr std::string_view kMark = "\xEF\xBB\xBF";
    if (begun_ || rest_.size() < kMark.size()) return;
    begun_ = true;
    if (rest_.starts_with(kMark)) rest_.erase(0, kMark.size());
  }

  std::string rest_;
  bool begun_ = false;
  bool ended_ = false;
};

class Pipe {
 public:
  Pipe(const RunArguments& arguments, transformation::Transformer& transformer)
      : arguments_(arguments),
        transformer_(transformer),
        state_(transformation::MakeMemoryState(SystemClock())) {
    context_.metadata_json = std::make_shared<const std::string>(arguments.metadata);
    context_.state = state_.get();
  }

  /// The exit code.
  StatusOr<int> Run() {
    LineReader reader;
    std::vector<std::string> lines;
    while (true) {
      MR_ASSIGN_OR_RETURN(const bool more, reader.Read(&lines));
      if (!more) return good_ ? 0 : 1;
      std::vector<Input> inputs;
      std::vector<int> numbers;
      for (std::string& line : lines) {
        ++number_;
        if (line.find_first_not_of(" \t\r") != std::string::npos)
          Add(std::move(line), &inputs, &numbers);
      }
      const std::vector<Output> outputs = RunAndWait(transformer_, std::move(inputs), context_);
      for (size_t i = 0; i < outputs.size(); ++i) Show(outputs[i], numbers[i]);
      std::fflush(stdout);
    }
  }

 private:
  void Add(std::string line, std::vector<Input>* inputs, std::vector<int>* numbers) {
    const auto parsed = config::ParseJsonText(line);
    if (!parsed.ok() || !parsed->is_object()) {
      const std::string_view fault = parsed.ok() ? "not a JSON object" : Message(parsed.status());
      std::cerr << "millrace: line " << number_ << " of the input is " << fault << "\n";
      good_ = false;
      return;
    }
    const Json& event = *parsed;
    Json own = Json::object();
    if (event.contains("messageId")) own["messageId"] = event["messageId"];
    std::string user = Text(event, "userId");
    if (user.empty()) user = Text(event, "anonymousId");
    inputs->push_back({.event = Bytes(std::move(line)),
                       .metadata_json = own.dump(-1, ' ', false, Json::error_handler_t::replace),
                       .now_us = SystemClock().NowMicros(),
                       .seed = NewUuid(),
                       .user = user.empty() ? 0 : Sha256Prefix128(user)[0]});
    numbers->push_back(number_);
  }

  void Show(const Output& output, int number) {
    for (const Bytes& event : output.events) Print(std::string(event.view()) + "\n");
    if (arguments_.show_logs) {
      for (const std::string& line : output.log)
        std::cerr << "line " << number << " log: " << line << "\n";
    }
    if (output.error.empty()) return;
    std::cerr << "millrace: line " << number << ": " << output.error << "\n" << output.stack;
    good_ = false;
  }

  const RunArguments& arguments_;
  transformation::Transformer& transformer_;
  const std::unique_ptr<transformation::StateScope> state_;
  transformation::RunContext context_;
  int number_ = 0;
  bool good_ = true;
};

StatusOr<int> Run(const RunArguments& arguments) {
  if (!Json::parse(arguments.metadata, nullptr, false).is_object()) {
    return Error(StatusCode::kInvalidArgument, "--metadata takes a JSON object, not '{}'",
                 arguments.metadata);
  }
  MR_ASSIGN_OR_RETURN(const LocalTransformation local, ReadTransformation(arguments.file));
  std::unique_ptr<transformation::Fetcher> fetcher;
  if (arguments.allow_fetch) {
    MR_ASSIGN_OR_RETURN(
        fetcher, transformation::Fetcher::Create({.allowed_networks = arguments.allowed_networks}));
  }
  std::unique_ptr<transformation::Geolocation> geolocation;
  if (!arguments.geolocation.empty()) {
    MR_ASSIGN_OR_RETURN(geolocation, transformation::Geolocation::Open(arguments.geolocation));
  }
  MR_ASSIGN_OR_RETURN(const auto pool, script::WorkerPool::Start({}));
  const auto factory = transformation::MakeTransformerFactory(
      {.pool = pool.get(), .fetcher = fetcher.get(), .geolocation = geolocation.get()});
  auto made = factory->Make(local.version, local.workspace);
  if (!made.ok()) return Annotate(made.status(), arguments.file);
  return Pipe(arguments, **made).Run();
}

}  // namespace

void AddTransformRun(CLI::App& group) {
  CLI::App* command =
      group.add_subcommand("run", "Pipe events (NDJSON, standard input) through a transformation");
  const auto arguments = std::make_shared<RunArguments>();
  command->add_option("FILE", arguments->file, "transformation.js or rules.yaml")->required();
  command->add_option("--metadata", arguments->metadata, "JSON object that metadata(event) gives");
  command->add_option("--geolocation", arguments->geolocation,
                      "MaxMind database for geolocation(ip)");
  command->add_flag("--show-logs", arguments->show_logs, "Print what log() says to standard error");
  CLI::Option* const allow_fetch =
      command->add_flag("--allow-fetch", arguments->allow_fetch, "Let fetch reach the network");
  command
      ->add_option("--allow-network", arguments->allowed_networks,
                   "Network (CIDR) that fetch may reach although it is private; may be repeated")
      ->allow_extra_args(false)
      ->needs(allow_fetch);
  command->footer(
      "Libraries and credentials are found beside FILE as by 'millrace transform test'. Errors go "
      "to\n"
      "standard error with the number of the line; the exit code is then 1. Nothing is fetched "
      "without\n"
      "--allow-fetch.\n\n"
      "Example: millrace transform run clean-up/transformation.js --show-logs < events.ndjson");
  SetWork(command, [arguments] { return Run(*arguments); });
}

}  // namespace millrace::cli
