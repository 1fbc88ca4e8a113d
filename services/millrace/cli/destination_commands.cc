#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <vector>

#include "services/millrace/cli/destination_table.h"
#include "services/millrace/cli/runner.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

struct GiveUpArguments {
  std::string destination, user, anonymous_id, from, before;
  bool dry_run = false;
};

StatusOr<int> GiveUp(const Target& target, const GiveUpArguments& arguments) {
  MR_ASSIGN_OR_RETURN(const std::string id,
                      ResolveId(target, "destinations", arguments.destination));
  Json body = Json::object();
  const auto set = [&body](const char* key, const std::string& value) {
    if (!value.empty()) body[key] = value;
  };
  set("user", arguments.user);
  set("anonymousId", arguments.anonymous_id);
  set("from", arguments.from);
  set("before", arguments.before);
  MR_ASSIGN_OR_RETURN(const Json answer,
                      CallApiJson(target, {.method = "POST",
                                           .path = "/api/v1/destinations/" + id + "/give-up",
                                           .query = {{"dry_run", arguments.dry_run ? "true" : ""}},
                                           .body = body.dump()}));
  if (!target.json) Print(GiveUpText(arguments.destination, answer));
  return 0;
}

StatusOr<int> SetPaused(const Target& target, const std::string& destination, bool paused) {
  MR_ASSIGN_OR_RETURN(const std::string id, ResolveId(target, "destinations", destination));
  MR_ASSIGN_OR_RETURN(const Json plan,
                      CallApiJson(target, {.method = "PUT",
                                           .path = "/api/v1/destinations/" + id,
                                           .body = Json{{"paused", paused}}.dump()}));
  if (!target.json) {
    Print(fmt::format("{} is {}, revision {}\n", destination,
                      paused ? "paused: its events are taken and held" : "resumed",
                      Text(plan, "revision")));
  }
  return 0;
}

StatusOr<int> AcceptStore(const Target& target) {
  MR_ASSIGN_OR_RETURN(
      const Json answer,
      CallApiJson(target, {.method = "POST", .path = "/api/v1/workspace/accept", .body = "{}"}));
  if (target.json) return 0;
  const Json accepted = answer.value("accepted", Json::array());
  if (accepted.empty()) Print("no service keeps a configuration of another store\n");
  for (const Json& one : accepted) {
    Print(fmt::format("{}, which holds revision {}, takes revision {} of this store\n",
                      Text(one, "service"), Text(one, "revision"), Text(answer, "revision")));
  }
  return 0;
}

void AddGiveUp(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "give-up", "Turn what waits for a destination into dead letters, reason given_up");
  const auto target = AddTargetOptions(command);
  const auto arguments = std::make_shared<GiveUpArguments>();
  command->add_option("DESTINATION", arguments->destination, "Name or id")->required();
  CLI::Option* user =
      command->add_option("--user", arguments->user, "Only of the user with this userId");
  command
      ->add_option("--anonymous-id", arguments->anonymous_id,
                   "Only of who has this anonymousId and no userId")
      ->excludes(user);
  command->add_option("--from", arguments->from, "Only what came at or after this time (RFC 3339)");
  command->add_option("--before", arguments->before, "Only what came before this time [now]");
  command->add_flag("--dry-run", arguments->dry_run,
                    "Say how many events wait for the destination, change nothing");
  command->footer("Example: millrace give-up crm --before 2026-01-31T12:00:00Z --dry-run");
  SetWork(command, [target, arguments] { return GiveUp(*target, *arguments); });
}

void AddPause(CLI::App& app, const char* name, const char* description, bool paused) {
  CLI::App* command = app.add_subcommand(name, description);
  const auto target = AddTargetOptions(command);
  const auto destination = std::make_shared<std::string>();
  command->add_option("DESTINATION", *destination, "Name or id")->required();
  command->footer(fmt::format("Example: millrace {} crm", name));
  SetWork(command,
          [target, destination, paused] { return SetPaused(*target, *destination, paused); });
}

}  // namespace

void AddDestinationCommands(CLI::App& app) {
  AddPause(app, "pause", "Hold what comes for a destination; nothing is sent", true);
  AddPause(app, "resume", "Send to a paused destination again", false);
  AddGiveUp(app);
  CLI::App* accept = app.add_subcommand(
      "accept-store",
      "Let services take the configuration of a store that was emptied, restored or exchanged");
  const auto target = AddTargetOptions(accept);
  accept->footer("Example: millrace accept-store");
  SetWork(accept, [target] { return AcceptStore(*target); });
}

}  // namespace millrace::cli
