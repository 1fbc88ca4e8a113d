#include "services/millrace/cli/transform_project.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <string_view>

#include "libs/base/file.h"
#include "libs/config/settings.h"

namespace millrace::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr char kScript[] = "transformation.js";
constexpr char kRules[] = "rules.yaml";
constexpr char kLibraries[] = "libraries";

/// What is in `folder`, sorted; nothing when it is not there.
std::vector<fs::path> List(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// What the server takes too.
bool IsImportName(std::string_view name) {
  const auto letter_or_digit = [](unsigned char c) { return std::isalnum(c) != 0; };
  return !name.empty() && std::islower(static_cast<unsigned char>(name.front())) != 0 &&
         std::all_of(name.begin(), name.end(), letter_or_digit);
}

Status AddLibraries(const fs::path& folder, config::v1::Workspace* workspace) {
  for (const fs::path& path : List(folder)) {
    const std::string name = path.stem();
    if (path.extension() != ".js" || name.starts_with('.')) continue;
    if (!IsImportName(name)) {
      return Error(StatusCode::kInvalidArgument,
                   "{}: a library is imported by the name of its file, which must be letters and "
                   "digits in camelCase, e.g. myLibrary.js",
                   path.string());
    }
    const auto& known = workspace->library_versions();
    if (std::any_of(known.begin(), known.end(),
                    [&](const auto& one) { return one.import_name() == name; })) {
      continue;
    }
    MR_ASSIGN_OR_RETURN(const std::string code, ReadFile(path));
    auto* version = workspace->add_library_versions();
    version->set_id(name);
    version->set_import_name(name);
    version->set_code(code);
    version->set_published(true);
  }
  return OkStatus();
}

Status AddCredentials(const fs::path& file, config::v1::Workspace* workspace) {
  if (!fs::exists(file)) return OkStatus();
  MR_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  const auto converted = config::YamlToJson(text);
  if (!converted.ok()) return Annotate(converted.status(), file.string());
  const Json json = Json::parse(*converted, nullptr, false);
  if (json.is_null()) return OkStatus();
  if (!json.is_object()) {
    return Error(StatusCode::kInvalidArgument, "{}: write 'key: value' lines", file.string());
  }
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) {
      return Error(StatusCode::kInvalidArgument,
                   "{}: the value of '{}' is no text; put it in quotes", file.string(), key);
    }
    auto* credential = workspace->add_credentials();
    credential->set_key(key);
    credential->set_value(value.get<std::string>());
    credential->set_secret(true);
  }
  return OkStatus();
}

bool IsTransformation(const fs::path& folder) {
  return fs::exists(folder / kScript) || fs::exists(folder / kRules);
}

StatusOr<LocalTransformation> ReadFolder(const fs::path& folder) {
  if (fs::exists(folder / kScript) && fs::exists(folder / kRules)) {
    return Error(StatusCode::kInvalidArgument, "{} has both {} and {}; keep one", folder.string(),
                 kScript, kRules);
  }
  MR_ASSIGN_OR_RETURN(
      LocalTransformation local,
      ReadTransformation(folder / (fs::exists(folder / kScript) ? kScript : kRules)));
  for (const fs::path& path : List(folder / "tests")) {
    if (path.extension() == ".json") local.fixtures.push_back(path);
  }
  return local;
}

}  // namespace

StatusOr<LocalTransformation> ReadTransformation(const std::string& file) {
  const fs::path path = fs::absolute(fs::path(file)).lexically_normal();
  const fs::path folder = path.parent_path();
  LocalTransformation local;
  local.name = folder.filename();
  MR_ASSIGN_OR_RETURN(const std::string code, ReadFile(file));
  local.version.set_id("local");
  local.version.set_transformation_id(local.name);
  local.version.set_code(code);
  const std::string ending = path.extension();
  if (ending == ".yaml" || ending == ".yml") local.version.set_kind(config::v1::RULES);
  local.workspace.set_id("local");
  MR_RETURN_IF_ERROR(AddLibraries(folder / kLibraries, &local.workspace));
  MR_RETURN_IF_ERROR(AddLibraries(folder.parent_path() / kLibraries, &local.workspace));
  MR_RETURN_IF_ERROR(AddCredentials(folder / "credentials.yaml", &local.workspace));
  return local;
}

StatusOr<std::vector<LocalTransformation>> ReadProject(const std::string& folder) {
  if (!fs::is_directory(folder)) {
    return Error(StatusCode::kNotFound, "there is no folder '{}'", folder);
  }
  std::vector<LocalTransformation> all;
  std::vector<fs::path> folders;
  if (IsTransformation(folder)) {
    folders.emplace_back(folder);
  } else {
    folders = List(folder);
  }
  for (const fs::path& one : folders) {
    if (!IsTransformation(one)) continue;
    MR_ASSIGN_OR_RETURN(LocalTransformation local, ReadFolder(one));
    all.push_back(std::move(local));
  }
  if (all.empty()) {
    return Error(StatusCode::kNotFound,
                 "'{}' holds no transformation: a folder with {} or {} is one", folder, kScript,
                 kRules);
  }
  return all;
}

}  // namespace millrace::cli
