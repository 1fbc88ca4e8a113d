#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>
#include <string>

#include "libs/base/clock.h"
#include "libs/base/hash.h"
#include "libs/base/ids.h"
#include "services/millrace/cli/runner.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

constexpr int kBatchEvents = 100;

struct SendArguments {
  std::string write_key;
  std::string type = "track";
  std::string event = "Test Event";
  std::string user = "test-user";
  int count = 1;
};

Json MakeEvent(const SendArguments& arguments, int index) {
  Json event = {{"type", arguments.type}, {"messageId", NewUuid()}, {"userId", arguments.user}};
  if (arguments.type == "track") event["event"] = arguments.event;
  if (arguments.type == "page" || arguments.type == "screen") event["name"] = arguments.event;
  const char* details = arguments.type == "identify" ? "traits" : "properties";
  event[details] = {{"number", index}};
  return event;
}

StatusOr<int> Send(const Target& target, const SendArguments& arguments) {
  const RestClient client(target.url);
  for (int sent = 0; sent < arguments.count;) {
    Json batch = Json::array();
    const int end = std::min(arguments.count, sent + kBatchEvents);
    for (int index = sent; index < end; ++index) batch.push_back(MakeEvent(arguments, index));
    const auto answer = client.Call(
        {.method = "POST",
         .path = "/v1/batch",
         .authorization = "Basic " + EncodeBase64(arguments.write_key + ":"),
         .body = Json{{"batch", batch}}.dump(-1, ' ', false, Json::error_handler_t::replace)});
    if (!answer.ok()) {
      if (sent == 0) return answer.status();
      return Annotate(answer.status(), fmt::format("after {} of {} events", sent, arguments.count));
    }
    sent = end;
  }
  if (target.json) {
    Print(Json{{"sent", arguments.count}}.dump() + "\n");
  } else {
    Print(fmt::format("sent {} {} event{}\n", arguments.count, arguments.type,
                      arguments.count == 1 ? "" : "s"));
  }
  return 0;
}

}  // namespace

void AddSendCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("send", "Send test events, each with its own messageId");
  const auto target = std::make_shared<Target>();
  const auto arguments = std::make_shared<SendArguments>();
  command->add_option("--write-key", arguments->write_key, "The source's write key")->required();
  command->add_option("--type", arguments->type, "Kind of event")
      ->check(CLI::IsMember({"track", "identify", "page", "screen"}))
      ->capture_default_str();
  command->add_option("--event", arguments->event, "Name of the event, page or screen")
      ->capture_default_str();
  command->add_option("--user", arguments->user, "userId")->capture_default_str();
  command->add_option("--count", arguments->count, "How many")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  command->add_option("--url", target->url, "The server")
      ->envname("MILLRACE_URL")
      ->capture_default_str();
  command->add_flag("--json", target->json, "Print the result as JSON");
  command->footer(
      "Example: millrace send --write-key WRITE_KEY --event 'Order Completed' --count 10");
  SetWork(command, [target, arguments] { return Send(*target, *arguments); });
}

}  // namespace millrace::cli
