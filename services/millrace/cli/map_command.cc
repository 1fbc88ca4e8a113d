#include <CLI/CLI.hpp>
#include <future>
#include <iostream>
#include <nlohmann/json.hpp>

#include "libs/base/clock.h"
#include "libs/destination/catalogue.h"
#include "libs/destination/script_mapper.h"
#include "services/millrace/cli/command.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

struct MapArguments {
  std::string type;
  std::string config_path;
  std::string destinations_dir;
  std::string now;
};

Json ToJson(const destination::MapResult& result) {
  Json json = Json::object();
  if (!result.error.empty()) {
    json["error"] = result.error;
    if (!result.stack.empty()) json["stack"] = result.stack;
    return json;
  }
  json["requests"] = Json::array();
  for (const http::ClientRequest& request : result.requests) {
    Json one = {{"method", request.method}, {"url", request.url}, {"headers", Json::object()}};
    for (const auto& [name, value] : request.headers) one["headers"][name] = value;
    const Json body = Json::parse(request.body, nullptr, false);
    if (body.is_object() || body.is_array()) one["json"] = body;
    else if (!request.body.empty()) one["body"] = request.body;
    json["requests"].push_back(std::move(one));
  }
  return json;
}

Status Map(const MapArguments& arguments) {
  destination::Catalogue catalogue = destination::Catalogue::Builtin();
  if (!arguments.destinations_dir.empty()) {
    MR_RETURN_IF_ERROR(catalogue.LoadFolder(arguments.destinations_dir));
  }
  const destination::DestinationType* type = catalogue.Find(arguments.type);
  if (type == nullptr) {
    std::string known;
    for (const auto* one : catalogue.List()) known += " " + one->definition.type();
    return Error(StatusCode::kInvalidArgument, "there is no destination type '{}'; known are:{}",
                 arguments.type, known);
  }
  if (type->mapping_source.empty()) {
    return Error(StatusCode::kInvalidArgument, "{} is a warehouse; it has no requests to show",
                 type->definition.type());
  }
  std::string config = "{}";
  if (!arguments.config_path.empty()) {
    MR_ASSIGN_OR_RETURN(config, ReadInput(arguments.config_path));
    MR_RETURN_IF_ERROR(
        Annotate(destination::ValidateConfig(type->definition, config), arguments.config_path));
  }
  int64_t now_us = SystemClock().NowMicros();
  if (!arguments.now.empty() && !ParseTimestamp(arguments.now, &now_us)) {
    return Error(StatusCode::kInvalidArgument, "--now is '{}', not a time like 2026-01-02T03:04:05Z",
                 arguments.now);
  }
  MR_ASSIGN_OR_RETURN(const auto pool, script::WorkerPool::Start({}));
  MR_ASSIGN_OR_RETURN(const auto mapper,
                      destination::MakeMapper(type->definition, type->mapping_source, config, *pool));
  int failed = 0;
  std::string line;
  for (int number = 1; std::getline(std::cin, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    destination::MapResult result;
    const Json event = Json::parse(line, nullptr, false);
    if (event.is_object()) {
      std::promise<std::vector<destination::MapResult>> promise;
      mapper->Map({{.event = Bytes(line), .now_us = now_us, .uuid_seed = event.value("messageId", line)}},
                  [&](std::vector<destination::MapResult> results) { promise.set_value(std::move(results)); });
      result = promise.get_future().get().at(0);
    } else {
      result.error = fmt::format("line {} is not a JSON object", number);
    }
    failed += result.error.empty() ? 0 : 1;
    std::cout << ToJson(result).dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
  }
  if (failed > 0) return Error(StatusCode::kInvalidArgument, "{} events cannot be mapped", failed);
  return OkStatus();
}

}  // namespace

void AddMapCommand(CLI::App& app) {
  CLI::App* map = app.add_subcommand(
      "map", "Show the requests that events would become: NDJSON in, one line of requests an event out");
  const auto arguments = std::make_shared<MapArguments>();
  map->add_option("--type", arguments->type, "Destination type, e.g. WEBHOOK")->required();
  map->add_option("--config", arguments->config_path, "File with the destination's configuration, JSON");
  map->add_option("--destinations-dir", arguments->destinations_dir, "Folder with further destination types");
  map->add_option("--now", arguments->now, "Time that the mapping sees [now]");
  map->footer("Example: millrace map --type WEBHOOK --config webhook.json < events.ndjson");
  OnRun(map, [=] { return Map(*arguments); });
}

}  // namespace millrace::cli
