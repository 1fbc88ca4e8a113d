#include "libs/destination/definition.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "libs/base/file.h"
#include "libs/base/string_map.h"
#include "libs/config/settings.h"

namespace millrace::destination {
namespace {

Status Check(const v1::Definition& definition) {
  const auto wrong = [](std::string_view what) {
    return MakeStatus(StatusCode::kInvalidArgument, what);
  };
  if (definition.display_name().empty()) return wrong("display_name: is missing");
  if (definition.category().empty()) return wrong("category: is missing");
  StringSet names;
  for (int i = 0; i < definition.fields_size(); ++i) {
    const v1::Field& field = definition.fields(i);
    if (field.name().empty()) return wrong(fmt::format("fields[{}].name: is missing", i));
    if (field.doc().empty())
      return wrong(fmt::format("fields[{}].doc: is missing ('{}')", i, field.name()));
    if (!names.insert(field.name()).second) {
      return wrong(fmt::format("fields[{}].name: '{}' stands twice", i, field.name()));
    }
    if ((field.kind() == v1::ENUM) == field.options().empty()) {
      return wrong(fmt::format("fields[{}].options: belong to kind ENUM ('{}')", i, field.name()));
    }
  }
  return OkStatus();
}

}  // namespace

StatusOr<v1::Definition> ReadDefinition(const std::string& folder) {
  const std::string path = folder + "/definition.yaml";
  MR_ASSIGN_OR_RETURN(const std::string yaml, ReadFile(path));
  auto json = config::YamlToJson(yaml);
  if (!json.ok()) return Annotate(json.status(), path);
  v1::Definition definition;
  const auto parsed = google::protobuf::util::JsonStringToMessage(*json, &definition);
  if (!parsed.ok()) return Error(StatusCode::kInvalidArgument, "{}: {}", path, parsed.ToString());
  const std::string name = std::filesystem::path(folder).filename().string();
  if (definition.id() != name) {
    return Error(StatusCode::kInvalidArgument, "{}: id: must be the folder's name '{}'", path,
                 name);
  }
  if (definition.type().empty()) {
    std::string type = definition.id();
    std::transform(type.begin(), type.end(), type.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    definition.set_type(type);
  }
  if (const Status status = Check(definition); !status.ok()) return Annotate(status, path);
  return definition;
}

}  // namespace millrace::destination
