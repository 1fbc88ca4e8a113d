#include "services/millrace/cli/deploy_document.h"

#include <nlohmann/json.hpp>

#include <cctype>
#include <map>

namespace millrace::cli {

using Json = nlohmann::json;

StatusOr<Json> DeployDocument(const std::vector<LocalTransformation>& project, bool publish) {
  struct Library {
    std::string code;
    std::string owner;
  };
  std::map<std::string, Library> libraries;
  Json document = {{"libraries", Json::array()}, {"transformations", Json::array()}};
  for (const LocalTransformation& local : project) {
    for (const auto& version : local.workspace.library_versions()) {
      const auto [found, fresh] =
          libraries.try_emplace(version.import_name(), Library{version.code(), local.name});
      if (fresh || found->second.code == version.code()) continue;
      return Error(StatusCode::kInvalidArgument,
                   "'{}' and '{}' each have another library '{}', and the server keeps one of a "
                   "name; rename one",
                   found->second.owner, local.name, version.import_name());
    }
    Json one = {{"name", local.name},
                {"kind", local.version.kind() == config::v1::RULES ? "rules" : "javascript"},
                {"code", local.version.code()},
                {"publish", publish}};
    const auto& limits = local.version.limits();
    if (local.version.has_limits()) {
      one["limits"] = {{"memoryBytes", limits.memory_bytes()},
                       {"cpuMs", limits.cpu_ms()},
                       {"fetches", limits.fetches()}};
    }
    document["transformations"].push_back(std::move(one));
  }
  for (const auto& [name, library] : libraries) {
    document["libraries"].push_back(
        {{"importName", name}, {"code", library.code}, {"publish", publish}});
  }
  return document;
}

std::string PathSegment(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '-' || c == '_' || c == '.' || c == '~')
      encoded += c;
    else
      encoded += fmt::format("%{:02X}", byte);
  }
  return encoded;
}

}  // namespace millrace::cli
