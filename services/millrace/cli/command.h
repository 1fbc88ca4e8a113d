#pragma once

#include <functional>
#include <memory>
#include <string>

#include "libs/base/status.h"
#include "services/millrace/cli/rest_client.h"

namespace CLI {
class App;
}

/// What the commands share. Each Add... registers commands whose arguments live as long as the App.
namespace millrace::cli {

/// Where Millrace is and how to prove who asks.
struct Access {
  std::string url = "http://127.0.0.1:8080";
  std::string token;
  std::string data_dir = "millrace-data";
  bool json = false;
};

/// The options --url, --token, --data-dir and --json.
std::shared_ptr<Access> AddAccess(CLI::App* command);

/// A client with the token of the option, the environment, or the data folder.
StatusOr<RestClient> Connect(const Access& access);

/// Runs `run` for the command; a failure becomes one line and exit code 1.
void OnRun(CLI::App* command, std::function<Status()> run);

/// The file's text; "-" is standard input.
StatusOr<std::string> ReadInput(const std::string& path);

/// `text` percent-encoded, for a value in a query string.
std::string EncodeQuery(std::string_view text);

void AddWorkspaceCommands(CLI::App& app);
void AddEventCommands(CLI::App& app);
void AddAccountCommands(CLI::App& app);
void AddMapCommand(CLI::App& app);

}  // namespace millrace::cli
