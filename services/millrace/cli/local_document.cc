#include "services/millrace/cli/local_document.h"

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>

#include "libs/base/file.h"
#include "libs/config/settings.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

Status Invalid(const std::string& where, std::string_view what) {
  return Error(StatusCode::kInvalidArgument, "{}: {}", where, what);
}

Status ReadCode(const std::string& where, const std::filesystem::path& folder, Json* entry) {
  const auto file = entry->find("file");
  if (file == entry->end()) return OkStatus();
  if (!file->is_string()) return Invalid(where, "'file' must be the path of a file");
  if (entry->contains("code")) return Invalid(where, "has both 'file' and 'code'; keep one");
  const std::string path = folder / file->get<std::string>();
  auto code = ReadFile(path);
  if (!code.ok()) return Annotate(code.status(), where + ".file");
  (*entry)["code"] = *std::move(code);
  const std::string ending = std::filesystem::path(path).extension();
  if ((ending == ".yaml" || ending == ".yml") && !entry->contains("kind"))
    (*entry)["kind"] = "rules";
  entry->erase("file");
  return OkStatus();
}

Status ReadValue(const std::string& where, const Environment& environment, Json* entry) {
  const auto from = entry->find("valueFrom");
  if (from == entry->end()) return OkStatus();
  if (entry->contains("value")) return Invalid(where, "has both 'value' and 'valueFrom'; keep one");
  if (!from->is_object() || from->size() != 1 || !from->contains("env") ||
      !(*from)["env"].is_string()) {
    return Invalid(where, "'valueFrom' must be {env: NAME}");
  }
  const std::string name = (*from)["env"];
  auto value = environment(name);
  if (!value.has_value() || value->empty()) {
    return Invalid(
        where,
        fmt::format("the environment variable {} is not set; set it, or take the credential out",
                    name));
  }
  (*entry)["value"] = *std::move(value);
  entry->erase("valueFrom");
  return OkStatus();
}

/// Calls `read` with each object of the list `name`.
template <typename Read>
Status ForEach(Json* document, const char* name, Read read) {
  const auto list = document->find(name);
  if (list == document->end() || !list->is_array()) return OkStatus();
  for (size_t i = 0; i < list->size(); ++i) {
    if (!(*list)[i].is_object()) continue;  // the server says what is wrong with it
    MR_RETURN_IF_ERROR(read(fmt::format("{}[{}]", name, i), &(*list)[i]));
  }
  return OkStatus();
}

}  // namespace

std::optional<std::string> ProcessEnvironment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

StatusOr<Json> ReadDocument(const std::string& path, const Environment& environment) {
  MR_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  if (!Json::accept(text)) {
    auto converted = config::YamlToJson(text);
    if (!converted.ok()) return Annotate(converted.status(), path);
    text = *std::move(converted);
  }
  Json document = Json::parse(text, nullptr, false);
  if (!document.is_object()) return document;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  for (const char* name : {"transformations", "libraries"}) {
    MR_RETURN_IF_ERROR(ForEach(&document, name, [&](const std::string& where, Json* entry) {
      return ReadCode(where, folder, entry);
    }));
  }
  MR_RETURN_IF_ERROR(ForEach(&document, "credentials", [&](const std::string& where, Json* entry) {
    return ReadValue(where, environment, entry);
  }));
  return document;
}

}  // namespace millrace::cli
