#include "services/millrace/cli/command.h"

#include <CLI/CLI.hpp>
#include <cctype>
#include <iostream>
#include <iterator>
#include <utility>

#include "libs/base/file.h"

namespace millrace::cli {

std::shared_ptr<Access> AddAccess(CLI::App* command) {
  auto access = std::make_shared<Access>();
  command->add_option("--url", access->url, "Address of Millrace [http://127.0.0.1:8080]")
      ->envname("MILLRACE_URL");
  command->add_option("--token", access->token, "API token [that of the data folder]")
      ->envname("MILLRACE_TOKEN");
  command->add_option("--data-dir", access->data_dir,
                      "Data folder of `millrace up`, for its file api-token [./millrace-data]");
  command->add_flag("--json", access->json, "Print JSON");
  return access;
}

StatusOr<RestClient> Connect(const Access& access) {
  std::string token = access.token;
  if (token.empty()) {
    const std::string path = access.data_dir + "/api-token";
    const auto text = ReadFile(path);
    if (!text.ok()) {
      return Error(StatusCode::kFailedPrecondition,
                   "no API token: {}; give --token, set MILLRACE_TOKEN, or name the data folder with "
                   "--data-dir",
                   Message(text.status()));
    }
    token = text->substr(0, text->find_first_of("\r\n"));
  }
  return RestClient::Create(access.url, std::move(token));
}

void OnRun(CLI::App* command, std::function<Status()> run) {
  command->callback([run = std::move(run)] {
    const Status status = run();
    if (status.ok()) return;
    std::cerr << "millrace: " << Message(status) << '\n';
    throw CLI::RuntimeError(1);
  });
}

StatusOr<std::string> ReadInput(const std::string& path) {
  if (path != "-") return ReadFile(path);
  return std::string(std::istreambuf_iterator<char>(std::cin), {});
}

std::string EncodeQuery(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '-' || c == '_' || c == '.' || c == '~') encoded += c;
    else encoded += fmt::format("%{:02X}", byte);
  }
  return encoded;
}

}  // namespace millrace::cli
