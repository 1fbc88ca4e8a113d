#pragma once

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <memory>
#include <string>

#include "libs/base/status.h"
#include "services/millrace/cli/rest_client.h"

namespace CLI {
class App;
}

namespace millrace::cli {

/// What every client command takes: where the server is, who we are, and how to print.
struct Target {
  std::string url = "http://127.0.0.1:8080";
  std::string token;
  std::string data_dir;
  bool json = false;
};

/// A command's work; the exit code, or why it failed (exit code 1).
using Work = std::function<StatusOr<int>()>;

/// Makes `work` the callback of `command`, with failures reported as AddClientCommands says.
void SetWork(CLI::App* command, Work work);

/// Adds --url, --token, --data-dir and --json to `command`.
std::shared_ptr<Target> AddTargetOptions(CLI::App* command);

/// Calls the API with the token of `target`.
StatusOr<std::string> CallApi(const Target& target, RestRequest request);

/// The same, with the answer parsed; with --json it is printed too, and the caller prints nothing.
StatusOr<nlohmann::json> CallApiJson(const Target& target, RestRequest request);

/// The value of "Authorization" for the API: from --token, MILLRACE_TOKEN or the token file.
StatusOr<std::string> Authorization(const Target& target);

/// The id of the entity of `kind` ("sources", "destinations") with this id or name; "" for "".
StatusOr<std::string> ResolveId(const Target& target, const std::string& kind,
                                const std::string& id_or_name);

/// The member `name` of `object` as short text: strings as they are, others as JSON, "" if missing.
std::string Text(const nlohmann::json& object, const char* name);

void Print(const std::string& text);

void AddDeadLetterCommands(CLI::App& app);
void AddDestinationCommands(CLI::App& app);
void AddMapCommand(CLI::App& app);
void AddSendCommand(CLI::App& app);

}  // namespace millrace::cli
