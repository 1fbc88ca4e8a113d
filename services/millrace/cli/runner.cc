#include "services/millrace/cli/runner.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <utility>

#include "libs/base/file.h"

namespace millrace::cli {

using Json = nlohmann::json;

void SetWork(CLI::App* command, Work work) {
  command->callback([work = std::move(work)] {
    const StatusOr<int> code = work();
    std::fflush(stdout);
    if (!code.ok()) {
      std::fputs(fmt::format("millrace: {}\n", Message(code.status())).c_str(), stderr);
      throw CLI::RuntimeError(1);
    }
    if (*code != 0) throw CLI::RuntimeError(*code);
  });
}

std::shared_ptr<Target> AddTargetOptions(CLI::App* command) {
  auto target = std::make_shared<Target>();
  command->add_option("--url", target->url, "The server")
      ->envname("MILLRACE_URL")
      ->capture_default_str();
  command->add_option("--token", target->token, "API token; else from the data folder")
      ->envname("MILLRACE_TOKEN");
  command->add_option("--data-dir", target->data_dir,
                      "The server's data folder, for its api-token");
  command->add_flag("--json", target->json, "Print the server's answer as it is");
  return target;
}

StatusOr<std::string> Authorization(const Target& target) {
  if (!target.token.empty()) return "Bearer " + target.token;
  const std::string folder = target.data_dir.empty() ? "./millrace-data" : target.data_dir;
  StatusOr<std::string> token = ReadFile(folder + "/api-token");
  if (!token.ok() && target.data_dir.empty()) {
    StatusOr<std::string> nested = ReadFile(folder + "/millrace/api-token");
    if (nested.ok()) token = std::move(nested);
  }
  if (!token.ok()) {
    return Error(StatusCode::kFailedPrecondition,
                 "no API token: {}; give --token, MILLRACE_TOKEN or --data-dir (is 'millrace up' "
                 "running?)",
                 Message(token.status()));
  }
  token->erase(token->find_last_not_of(" \r\n\t") + 1);
  return "Bearer " + *token;
}

StatusOr<std::string> CallApi(const Target& target, RestRequest request) {
  MR_ASSIGN_OR_RETURN(request.authorization, Authorization(target));
  return RestClient(target.url).Call(request);
}

StatusOr<Json> CallApiJson(const Target& target, RestRequest request) {
  MR_ASSIGN_OR_RETURN(const std::string body, CallApi(target, std::move(request)));
  Json json = Json::parse(body, nullptr, false);
  if (json.is_discarded()) {
    return Error(StatusCode::kInternal, "{} did not answer with JSON; is it a Millrace server?",
                 target.url);
  }
  if (target.json) Print(body);
  return json;
}

StatusOr<std::string> ResolveId(const Target& target, const std::string& kind,
                                const std::string& id_or_name) {
  if (id_or_name.empty()) return std::string();
  Target quiet = target;
  quiet.json = false;
  MR_ASSIGN_OR_RETURN(const Json list, CallApiJson(quiet, {.path = "/api/v1/" + kind}));
  for (const char* key : {"id", "name"}) {
    for (const Json& entity : list) {
      if (Text(entity, key) == id_or_name) return Text(entity, "id");
    }
  }
  return Error(StatusCode::kNotFound, "none of the {} is called '{}'; see 'millrace get {}'", kind,
               id_or_name, kind);
}

std::string Text(const Json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  if (!object.is_object() || found == object.end() || found->is_null()) return {};
  if (found->is_string()) return found->get<std::string>();
  return found->dump(-1, ' ', false, Json::error_handler_t::replace);
}

void Print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace millrace::cli
