#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <vector>

#include "services/millrace/cli/deploy_document.h"
#include "services/millrace/cli/runner.h"
#include "services/millrace/cli/table.h"
#include "services/millrace/cli/transform_commands.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;
using Rows = std::vector<std::vector<std::string>>;

const std::string kTransformations = "/api/v1/transformations";

std::string PathOf(const std::string& name, const std::string& part = "") {
  return kTransformations + "/" + PathSegment(name) + part;
}

std::string NumberOf(const Json& script, const char* which) {
  const auto found = script.find(which);
  return found == script.end() ? "-" : Text(*found, "number");
}

StatusOr<int> List(const Target& target) {
  MR_ASSIGN_OR_RETURN(const Json list, CallApiJson(target, {.path = kTransformations}));
  if (target.json) return 0;
  Rows rows = {{"NAME", "KIND", "IN FORCE", "LATEST", "SHADOW", "USED BY"}};
  for (const Json& one : list) {
    std::string users;
    for (const Json& user : one.value("usedBy", Json::array())) {
      users += (users.empty() ? "" : ", ") + (user.is_string() ? user.get<std::string>() : "");
    }
    const Json shadow = one.value("shadow", Json::object());
    rows.push_back(
        {Text(one, "name"), Text(one.value("latest", Json::object()), "kind"),
         NumberOf(one, "published"), NumberOf(one, "latest"),
         shadow.empty() ? "-" : Text(shadow, "number") + " (" + Text(shadow, "permille") + "/1000)",
         users});
  }
  Print(FormatTable(rows));
  return 0;
}

void PrintPublished(const Json& answer) {
  for (const Json& one : answer.value("scripts", Json::array())) {
    const bool changed = one.value("changed", true);
    Print(fmt::format("{} '{}': version {} is in force{}\n", Text(one, "type"), Text(one, "name"),
                      NumberOf(one, "published"), changed ? "" : ", as before"));
  }
  Print("revision " + Text(answer, "revision") + "\n");
}

struct PublishArguments {
  std::vector<std::string> names, libraries;
  std::string version;
};

StatusOr<int> Publish(const Target& target, const PublishArguments& arguments) {
  if (arguments.names.empty() && arguments.libraries.empty()) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "name a transformation, or a library with --library");
  }
  if (!arguments.version.empty() && arguments.names.size() + arguments.libraries.size() != 1) {
    return MakeStatus(StatusCode::kInvalidArgument, "--version goes with one name");
  }
  Json body = {{"transformations", Json::array()}, {"libraries", Json::array()}};
  for (const auto& [list, names] : {std::pair("transformations", &arguments.names),
                                    std::pair("libraries", &arguments.libraries)}) {
    for (const std::string& name : *names)
      body[list].push_back({{"id", name}, {"version", arguments.version}});
  }
  MR_ASSIGN_OR_RETURN(const Json answer, CallApiJson(target, {.method = "POST",
                                                              .path = kTransformations + "/publish",
                                                              .body = body.dump()}));
  if (!target.json) PrintPublished(answer);
  return 0;
}

StatusOr<int> Rollback(const Target& target, const std::string& name, bool library) {
  const std::string path =
      (library ? "/api/v1/libraries/" : kTransformations + "/") + PathSegment(name) + "/rollback";
  MR_ASSIGN_OR_RETURN(const Json answer,
                      CallApiJson(target, {.method = "POST", .path = path, .body = "{}"}));
  if (!target.json) PrintPublished(answer);
  return 0;
}

struct ShadowArguments {
  std::string name, version;
  int permille = 0;
  bool stop = false;
};

std::string Running(const Json& shadow) {
  return shadow.empty() ? "no shadow runs"
                        : fmt::format("version {} runs in the shadow on {} of 1000 events",
                                      Text(shadow, "number"), Text(shadow, "permille"));
}

/// What runs in the shadow, and what its outputs were like so far.
StatusOr<int> ShowShadow(const Target& target, const std::string& name) {
  MR_ASSIGN_OR_RETURN(const Json report, CallApiJson(target, {.path = PathOf(name, "/report")}));
  if (target.json) return 0;
  MR_ASSIGN_OR_RETURN(const Json script, CallApiJson(target, {.path = PathOf(name)}));
  const Json shadows = report.value("shadows", Json::array());
  Print(Running(script.value("shadow", Json::object())) +
        (shadows.empty() ? "; nothing was compared yet\n" : "\n"));
  for (const Json& one : shadows) {
    Print(fmt::format("version {}: compared {}, equal {}, different {}, failed {}\n",
                      Text(one, "versionId"), Text(one, "compared"), Text(one, "equal"),
                      Text(one, "different"), Text(one, "failed")));
    for (const Json& sample : one.value("samples", Json::array())) {
      Print("  event " + Text(sample, "messageId") + "\n");
      if (sample.contains("shadowError")) Print("    fails: " + Text(sample, "shadowError") + "\n");
      for (const Json& difference : sample.value("differences", Json::array())) {
        Print(fmt::format("    {}: {} -> {}\n", Text(difference, "path"),
                          Text(difference, "inForce"), Text(difference, "candidate")));
      }
    }
  }
  return 0;
}

StatusOr<int> Shadow(const Target& target, const ShadowArguments& arguments) {
  if (!arguments.stop && arguments.permille == 0) return ShowShadow(target, arguments.name);
  RestRequest request{.method = arguments.stop ? "DELETE" : "POST",
                      .path = PathOf(arguments.name, "/shadow")};
  if (!arguments.stop) {
    request.body = Json{{"version", arguments.version}, {"permille", arguments.permille}}.dump();
  }
  MR_ASSIGN_OR_RETURN(const Json answer, CallApiJson(target, std::move(request)));
  if (target.json) return 0;
  if (arguments.stop) {
    Print(answer.value("changed", true) ? "the shadow has ended\n" : "no shadow ran\n");
    return 0;
  }
  const Json script = answer.value("script", Json::object());
  Print(fmt::format("{}; see 'millrace transform shadow {}'\n",
                    Running(script.value("shadow", Json::object())), arguments.name));
  return 0;
}

StatusOr<int> Logs(const Target& target, const std::string& name) {
  MR_ASSIGN_OR_RETURN(const Json report, CallApiJson(target, {.path = PathOf(name, "/report")}));
  if (target.json) return 0;
  Rows rows = {{"VERSION", "EVENTS", "PRODUCED", "DROPPED", "FAILED", "CPU US", "SHADOW"}};
  for (const Json& one : report.value("versions", Json::array())) {
    rows.push_back({one.value("number", 0) > 0 ? Text(one, "number") : Text(one, "versionId"),
                    Text(one, "events"), Text(one, "produced"), Text(one, "dropped"),
                    Text(one, "failed"), Text(one, "cpuUs"),
                    one.value("shadow", false) ? "yes" : ""});
  }
  Print(FormatTable(rows));
  const Json logs = report.value("logs", Json::array());
  for (auto line = logs.rbegin(); line != logs.rend(); ++line) {
    Print(FormatTable({{Text(*line, "at"), Text(*line, "messageId"), Text(*line, "text")}}));
  }
  return 0;
}

}  // namespace

void AddTransformServerCommands(CLI::App& group) {
  CLI::App* list = group.add_subcommand("ls", "List the server's transformations");
  const auto list_target = AddTargetOptions(list);
  list->footer("Example: millrace transform ls");
  SetWork(list, [list_target] { return List(*list_target); });

  CLI::App* publish = group.add_subcommand("publish", "Put versions in force, all or none");
  const auto publish_target = AddTargetOptions(publish);
  const auto published = std::make_shared<PublishArguments>();
  publish->add_option("NAME", published->names, "Transformations, by name or id");
  publish
      ->add_option("--library", published->libraries, "Libraries, by name or id; may be repeated")
      ->allow_extra_args(false);
  publish->add_option("--version", published->version,
                      "Number or id of the version; else the latest");
  publish->footer(
      "Examples:\n  millrace transform publish clean-up --version 3\n  millrace transform publish "
      "clean-up --library text");
  SetWork(publish, [publish_target, published] { return Publish(*publish_target, *published); });

  CLI::App* rollback = group.add_subcommand("rollback", "Put the version in force that was before");
  const auto rollback_target = AddTargetOptions(rollback);
  const auto name = std::make_shared<std::string>();
  const auto library = std::make_shared<bool>(false);
  rollback->add_option("NAME", *name, "Name or id")->required();
  rollback->add_flag("--library", *library, "NAME is a library");
  rollback->footer("Example: millrace transform rollback clean-up");
  SetWork(rollback,
          [rollback_target, name, library] { return Rollback(*rollback_target, *name, *library); });

  CLI::App* shadow =
      group.add_subcommand("shadow", "Run a version beside the one in force, or show how it did");
  const auto shadow_target = AddTargetOptions(shadow);
  const auto shadowed = std::make_shared<ShadowArguments>();
  shadow->add_option("NAME", shadowed->name, "Name or id")->required();
  shadow->add_option("--permille", shadowed->permille, "Start it on so many of 1000 events")
      ->check(CLI::Range(1, 1000));
  shadow->add_option("--version", shadowed->version,
                     "Number or id of the version; else the latest");
  shadow->add_flag("--stop", shadowed->stop, "End it");
  shadow->footer(
      "Examples:\n  millrace transform shadow clean-up --permille 50\n  millrace transform shadow "
      "clean-up\n  millrace transform shadow clean-up --stop");
  SetWork(shadow, [shadow_target, shadowed] { return Shadow(*shadow_target, *shadowed); });

  CLI::App* logs =
      group.add_subcommand("logs", "Show what a transformation did and logged in production");
  const auto logs_target = AddTargetOptions(logs);
  const auto logged = std::make_shared<std::string>();
  logs->add_option("NAME", *logged, "Name or id")->required();
  logs->footer("Example: millrace transform logs clean-up");
  SetWork(logs, [logs_target, logged] { return Logs(*logs_target, *logged); });
}

}  // namespace millrace::cli
