#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "services/millrace/cli/command.h"
#include "services/millrace/cli/test_events.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

/// The write key of the workspace's only source.
StatusOr<std::string> OnlyWriteKey(RestClient* client) {
  MR_ASSIGN_OR_RETURN(const Json sources, client->Get("/api/v1/sources"));
  if (sources.size() == 1) {
    const Json keys = sources[0].value("writeKeys", Json::array());
    if (!keys.empty()) return keys[0].get<std::string>();
  }
  return Error(StatusCode::kInvalidArgument,
               sources.empty() ? "there is no source yet; make one with `millrace apply`"
                               : "there are several sources; name one by its key with --write-key "
                                 "(`millrace get sources` lists them)");
}

Status Send(const Access& access, std::string write_key, const TestEvents& wanted) {
  MR_ASSIGN_OR_RETURN(const auto bodies, MakeBatches(wanted, SystemClock()));
  if (write_key.empty()) {
    MR_ASSIGN_OR_RETURN(RestClient api, Connect(access));
    MR_ASSIGN_OR_RETURN(write_key, OnlyWriteKey(&api));
  }
  MR_ASSIGN_OR_RETURN(RestClient client, RestClient::Create(access.url, ""));
  for (const std::string& body : bodies) {
    MR_RETURN_IF_ERROR(client.Ingest("/v1/batch", write_key, body).status());
  }
  if (access.json) std::cout << Json{{"sent", wanted.count}}.dump() << '\n';
  else std::cout << "sent " << wanted.count << (wanted.count == 1 ? " event\n" : " events\n");
  return OkStatus();
}

std::string Text(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return "";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

/// One line for people: time, stage, source and destination, what it is.
std::string Readable(const Json& line, const std::map<std::string, std::string>& names) {
  const auto name = [&](const char* key) {
    const std::string id = Text(line, key);
    const auto found = names.find(id);
    return found == names.end() ? id : found->second;
  };
  const bool accepted = Text(line, "stage") == "accepted";
  const std::string time = Text(line, accepted ? "receivedAt" : "at");
  std::string text = time.size() >= 23 ? time.substr(11, 12) : time;
  text += fmt::format("  {:<13} {}", Text(line, "stage"), name("source"));
  if (accepted) {
    const Json event = line.value("event", Json());
    text += "  " + Text(line, "type");
    if (event.is_object()) {
      const std::string what = event.contains("event") ? Text(event, "event") : Text(event, "name");
      if (!what.empty()) text += " \"" + what + "\"";
      const std::string user = Text(event, "userId");
      text += "  " + (user.empty() ? Text(event, "anonymousId") : user);
    }
    if (line.contains("rejected")) text += "  rejected: " + Text(line, "rejected");
  } else {
    text += " -> " + name("destination");
    if (line.value("httpStatus", 0) != 0) text += "  " + Text(line, "httpStatus");
    if (!Text(line, "reason").empty()) text += "  " + Text(line, "reason");
  }
  return text + "  " + Text(line, "messageId");
}

Status Tail(const Access& access, const std::string& source, const std::string& destination, int limit) {
  MR_ASSIGN_OR_RETURN(RestClient client, Connect(access));
  std::map<std::string, std::string> names;
  MR_ASSIGN_OR_RETURN(const Json workspace, client.Get("/api/v1/workspace"));
  for (const char* kind : {"sources", "destinations"}) {
    for (const Json& entity : workspace.value(kind, Json::array())) {
      names[entity.value("id", "")] = entity.value("name", "");
    }
  }
  int shown = 0;
  return client.Stream(
      fmt::format("/api/v1/tail?source={}&destination={}", EncodeQuery(source), EncodeQuery(destination)),
      [&](std::string_view line) {
        const Json json = Json::parse(line, nullptr, false);
        if (access.json || !json.is_object()) std::cout << line << std::endl;
        else std::cout << Readable(json, names) << std::endl;
        return limit == 0 || ++shown < limit;
      });
}

}  // namespace

void AddEventCommands(CLI::App& app) {
  struct SendArguments {
    std::string write_key;
    TestEvents events;
  };
  CLI::App* send = app.add_subcommand("send", "Send test events");
  const auto access = AddAccess(send);
  const auto arguments = std::make_shared<SendArguments>();
  send->add_option("--write-key", arguments->write_key, "Key of the source [that of the only source]");
  send->add_option("--type", arguments->events.type,
                   "identify, track, page, screen, group or alias [track]");
  send->add_option("--user", arguments->events.user, "User id [test-user]");
  send->add_option("--event,--name", arguments->events.name, "Name of the event or page [Test Event]");
  send->add_option("--properties", arguments->events.properties, "Properties or traits, a JSON object");
  send->add_option("--count", arguments->events.count, "How many [1]");
  send->footer(
      "Examples:\n"
      "  millrace send --event \"Order Completed\" --properties '{\"revenue\": 25}'\n"
      "  millrace send --type identify --user ada --properties '{\"plan\": \"pro\"}' --count 10");
  OnRun(send, [=] { return Send(*access, arguments->write_key, arguments->events); });

  struct TailArguments {
    std::string source;
    std::string destination;
    int limit = 0;
  };
  CLI::App* tail = app.add_subcommand("tail", "Show events and deliveries as they happen");
  const auto tail_access = AddAccess(tail);
  const auto tail_arguments = std::make_shared<TailArguments>();
  tail->add_option("--source", tail_arguments->source, "Only this source (name or id)");
  tail->add_option("--destination", tail_arguments->destination,
                   "Only deliveries to this destination (name or id)");
  tail->add_option("--limit", tail_arguments->limit, "End after so many lines [never]");
  tail->footer("Example: millrace tail --source website --json | jq .event");
  OnRun(tail, [=] {
    return Tail(*tail_access, tail_arguments->source, tail_arguments->destination, tail_arguments->limit);
  });
}

}  // namespace millrace::cli
