#include "libs/destination/definition.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <vector>

#include "libs/base/file.h"
#include "libs/base/string_map.h"
#include "libs/config/settings.h"
#include "libs/destination/config.h"

namespace millrace::destination {
namespace {

/// The fields that have a reader, by the kind of destination. One that is not here, or not read for
/// this kind, would be believed and do nothing.
struct ReadField {
  std::string_view name;
  bool http;
  bool warehouse;
};
constexpr ReadField kReadFields[] = {
    {"id", true, true},
    {"type", true, true},
    {"display_name", true, true},
    {"category", true, true},
    {"kind", true, true},
    {"status", true, true},
    {"message_types", true, true},
    {"fields", true, true},
    {"doc", true, true},
    {"limits", true, false},
    {"judging", true, false},
    {"unordered", true, false},
    {"idempotency_header", true, false},
    {"routing_keys", true, false},
};

Status CheckRead(const v1::Definition& definition) {
  const bool warehouse = definition.kind() == v1::WAREHOUSE;
  std::vector<const google::protobuf::FieldDescriptor*> set;
  definition.GetReflection()->ListFields(definition, &set);
  for (const auto* field : set) {
    const bool read =
        std::any_of(std::begin(kReadFields), std::end(kReadFields), [&](const ReadField& one) {
          return one.name == field->name() && (warehouse ? one.warehouse : one.http);
        });
    if (read) continue;
    return Error(
        StatusCode::kInvalidArgument,
        "{}: nothing reads it when events are delivered to {}, so it would have no effect; "
        "take it out",
        field->name(), warehouse ? "a warehouse" : "an HTTP destination");
  }
  return OkStatus();
}

Status CheckField(const v1::Field& field, const std::string& path) {
  const auto wrong = [&](std::string_view part, std::string_view what) {
    return Error(StatusCode::kInvalidArgument, "{}.{}: {} ('{}')", path, part, what, field.name());
  };
  if (field.name().empty()) return wrong("name", "is missing");
  if (field.doc().empty()) return wrong("doc", "is missing");
  if ((field.kind() == v1::ENUM) == field.options().empty()) {
    return wrong("options", "belong to kind ENUM");
  }
  if (field.kind() != v1::NUMBER && field.has_minimum()) {
    return wrong("minimum", "belongs to kind NUMBER");
  }
  if (field.kind() != v1::NUMBER && field.has_maximum()) {
    return wrong("maximum", "belongs to kind NUMBER");
  }
  const Status status = CheckDefault(field);
  return status.ok() ? status : wrong("default_json", Message(status));
}

Status Check(const v1::Definition& definition) {
  const auto wrong = [](std::string_view what) {
    return MakeStatus(StatusCode::kInvalidArgument, what);
  };
  if (definition.display_name().empty()) return wrong("display_name: is missing");
  if (definition.category().empty()) return wrong("category: is missing");
  StringSet names;
  for (int i = 0; i < definition.fields_size(); ++i) {
    const v1::Field& field = definition.fields(i);
    const std::string path = fmt::format("fields[{}]", i);
    MR_RETURN_IF_ERROR(CheckField(field, path));
    if (!names.insert(field.name()).second) {
      return wrong(fmt::format("{}.name: '{}' stands twice", path, field.name()));
    }
  }
  return CheckRead(definition);
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
