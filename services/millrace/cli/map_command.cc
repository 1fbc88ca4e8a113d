#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/base/ids.h"
#include "libs/destination/catalogue.h"
#include "libs/destination/script_mapper.h"
#include "libs/script/worker_pool.h"
#include "services/millrace/cli/runner.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

struct MapArguments {
  std::string type;
  std::string config;
};

std::string RequestLine(const destination::Prepared& request) {
  Json headers = Json::object();
  for (const auto& [name, value] : request.headers) headers[name] = value;
  Json line = {{"method", request.method}, {"url", request.url}, {"headers", headers}};
  Json body = Json::parse(request.body, nullptr, false);
  line[body.is_discarded() ? "body" : "json"] =
      body.is_discarded() ? Json(request.body) : std::move(body);
  return line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// Maps one event; whether it could be mapped.
bool MapLine(destination::Mapper& mapper, std::string line, int number) {
  const Json event = Json::parse(line, nullptr, false);
  if (!event.is_object()) {
    std::cerr << "millrace: line " << number << " is not a JSON object\n";
    return false;
  }
  std::string seed = Text(event, "messageId");
  if (seed.empty()) seed = NewUuid();
  auto done = std::make_shared<std::promise<std::vector<destination::MapResult>>>();
  auto results = done->get_future();
  std::vector<destination::MapInput> inputs;
  inputs.push_back({.event = Bytes(std::move(line)),
                    .now_us = SystemClock().NowMicros(),
                    .uuid_seed = std::move(seed)});
  mapper.Map(std::move(inputs), [done](std::vector<destination::MapResult> mapped) {
    done->set_value(std::move(mapped));
  });
  bool good = true;
  for (const destination::MapResult& result : results.get()) {
    for (const destination::Prepared& request : result.requests) Print(RequestLine(request));
    if (result.error.empty()) continue;
    std::cerr << "millrace: line " << number << ": " << result.error << "\n" << result.stack;
    good = false;
  }
  return good;
}

StatusOr<int> Map(const MapArguments& arguments) {
  const auto catalogue = destination::Catalogue::Builtin();
  const destination::DestinationType* type = catalogue.Find(arguments.type);
  if (type == nullptr) {
    std::string known;
    for (const auto* one : catalogue.List()) {
      known += (known.empty() ? "" : ", ") + one->definition.id();
    }
    return Error(StatusCode::kNotFound, "there is no destination type '{}'; there are: {}",
                 arguments.type, known);
  }
  if (type->mapping_source.empty()) {
    return Error(StatusCode::kInvalidArgument, "'{}' has no mapping", arguments.type);
  }
  MR_ASSIGN_OR_RETURN(const std::string text, ReadFile(arguments.config));
  const auto config = destination::NormaliseConfig(type->definition, text);
  if (!config.ok()) return Annotate(config.status(), arguments.config);
  MR_ASSIGN_OR_RETURN(const auto pool, script::WorkerPool::Start({}));
  MR_ASSIGN_OR_RETURN(
      const auto mapper,
      destination::MakeMapper(type->definition, type->mapping_source, *config, *pool));
  int number = 0;
  int code = 0;
  for (std::string line; std::getline(std::cin, line);) {
    ++number;
    if (line.find_first_not_of(" \r\t") == std::string::npos) continue;
    if (!MapLine(*mapper, std::move(line), number)) code = 1;
  }
  return code;
}

}  // namespace

void AddMapCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "map",
      "Show the requests a destination would get for events (one JSON object a line) on stdin");
  const auto arguments = std::make_shared<MapArguments>();
  command->add_option("--type", arguments->type, "Destination type")->required();
  command->add_option("--config", arguments->config, "Its configuration, a JSON file")->required();
  command->footer("Example: millrace map --type WEBHOOK --config webhook.json < events.ndjson");
  SetWork(command, [arguments] { return Map(*arguments); });
}

}  // namespace millrace::cli
