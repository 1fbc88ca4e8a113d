#include "libs/config/settings.h"

#include <google/protobuf/util/json_util.h>
#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <memory>

#include "libs/base/file.h"

namespace millrace::config {
namespace {

using Json = nlohmann::json;

/// A plain scalar by YAML's core schema.
Json ScalarToJson(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // quoted
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  if (text == "null" || text == "~" || text.empty()) return nullptr;
  int64_t integer = 0;
  const bool looks_octal = text.size() > 1 && text[0] == '0' && text[1] != '.';
  if (!looks_octal && YAML::convert<int64_t>::decode(node, integer)) return integer;
  double number = 0;
  if (!looks_octal && YAML::convert<double>::decode(node, number) && std::isfinite(number))
    return number;
  return text;
}

Json NodeToJson(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Scalar:
      return ScalarToJson(node);
    case YAML::NodeType::Sequence: {
      Json array = Json::array();
      for (const auto& item : node) array.push_back(NodeToJson(item));
      return array;
    }
    case YAML::NodeType::Map: {
      Json object = Json::object();
      for (const auto& entry : node) object[entry.first.Scalar()] = NodeToJson(entry.second);
      return object;
    }
    default:
      return nullptr;
  }
}

StatusOr<Json> ParseYaml(const std::string& yaml) {
  try {
    return NodeToJson(YAML::Load(yaml));
  } catch (const YAML::Exception& error) {
    return Error(StatusCode::kInvalidArgument, "line {}, column {}: {}", error.mark.line + 1,
                 error.mark.column + 1, error.msg);
  }
}

/// Reads `text` the way a file would: numbers and booleans plain, all else text.
Json ValueToJson(const std::string& text) {
  try {
    const YAML::Node node = YAML::Load(text);
    if (node.IsScalar() || node.IsSequence() || node.IsMap()) return NodeToJson(node);
  } catch (const YAML::Exception&) {
    // Text with YAML's special characters stands for itself.
  }
  return text;
}

void SetPath(Json* root, const std::vector<std::string>& path, Json value) {
  Json* at = root;
  for (const std::string& key : path) {
    if (!at->is_object()) *at = Json::object();
    at = &(*at)[key];
  }
  *at = std::move(value);
}

std::vector<std::string> Split(std::string_view text, std::string_view separator) {
  std::vector<std::string> parts;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(separator, start), text.size());
    parts.emplace_back(text.substr(start, end - start));
    start = end + separator.size();
  }
  return parts;
}

using google::protobuf::FieldDescriptor;

/// What a field takes, when `value` is of another kind; nothing when it fits or the parser must
/// say.
std::string_view WantedKind(const FieldDescriptor& field, const Json& value) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return value.is_string() ? "" : "text; put it in quotes";
    case FieldDescriptor::CPPTYPE_BOOL:
      return value.is_boolean() ? "" : "true or false";
    case FieldDescriptor::CPPTYPE_UINT32:
      return value.is_number_integer() && value.get<int64_t>() >= 0 &&
                     value.get<int64_t>() <= UINT32_MAX
                 ? ""
                 : "a whole number from 0 to 4294967295";
    case FieldDescriptor::CPPTYPE_INT32:
      return value.is_number_integer() && value.get<int64_t>() >= INT32_MIN &&
                     value.get<int64_t>() <= INT32_MAX
                 ? ""
                 : "a whole number of 32 bits";
    case FieldDescriptor::CPPTYPE_UINT64:
      return value.is_number_integer() && value.get<int64_t>() >= 0 ? "" : "a whole number from 0";
    case FieldDescriptor::CPPTYPE_INT64:
      return value.is_number_integer() ? "" : "a whole number";
    default:
      return "";
  }
}

Status CheckKeys(const Json& json, const google::protobuf::Descriptor& type,
                 const std::string& path);

Status CheckValue(const Json& value, const FieldDescriptor& field, const std::string& path) {
  const auto wrong = [&path](std::string_view wanted) {
    // The value stays out of the message: it may be a secret.
    return Error(StatusCode::kInvalidArgument, "{} takes {}", path, wanted);
  };
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    if (!value.is_object()) return wrong("further keys, each with a value");
    return CheckKeys(value, *field.message_type(), path + ".");
  }
  const std::string_view wanted = WantedKind(field, value);
  return wanted.empty() ? OkStatus() : wrong(wanted);
}

/// Names the first key that does not exist or has a value of the wrong kind; `path` stands before
/// it.
Status CheckKeys(const Json& json, const google::protobuf::Descriptor& type,
                 const std::string& path) {
  for (const auto& [key, value] : json.items()) {
    const FieldDescriptor* field = type.FindFieldByName(key);
    if (field == nullptr) field = type.FindFieldByCamelcaseName(key);
    const std::string whole = path + key;
    if (field == nullptr) {
      return Error(StatusCode::kInvalidArgument,
                   "there is no setting {}; docs/settings.md lists them all", whole);
    }
    if (value.is_null()) continue;
    if (field->is_map()) {
      if (!value.is_object()) return CheckValue(value, *field, whole);
      for (const auto& [name, one] : value.items()) {
        MR_RETURN_IF_ERROR(
            CheckValue(one, *field->message_type()->map_value(), whole + "." + name));
      }
    } else if (field->is_repeated()) {
      if (!value.is_array()) {
        return Error(StatusCode::kInvalidArgument, "{} takes a list, e.g. [a, b]", whole);
      }
      for (const Json& one : value) MR_RETURN_IF_ERROR(CheckValue(one, *field, whole + "[]"));
    } else {
      MR_RETURN_IF_ERROR(CheckValue(value, *field, whole));
    }
  }
  return OkStatus();
}

Status Merge(const Json& json, google::protobuf::Message* out, std::string_view origin) {
  if (Status keys = CheckKeys(json, *out->GetDescriptor(), ""); !keys.ok()) {
    return Annotate(keys, origin);
  }
  std::unique_ptr<google::protobuf::Message> parsed(out->New());
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  const auto status = google::protobuf::util::JsonStringToMessage(text, parsed.get());
  if (!status.ok()) {
    return Error(StatusCode::kInvalidArgument, "{}: {}", origin,
                 std::string(status.message().data(), status.message().size()));
  }
  // JSON of nothing but the keys that were given: merging never resets another key.
  out->MergeFrom(*parsed);
  return OkStatus();
}

}  // namespace

StatusOr<std::string> YamlToJson(const std::string& yaml) {
  MR_ASSIGN_OR_RETURN(const Json json, ParseYaml(yaml));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Status LoadSettings(const std::string& path, std::string_view env_prefix,
                    const std::vector<std::string>& environment,
                    const std::vector<std::pair<std::string, std::string>>& overrides,
                    google::protobuf::Message* out) {
  Json all = Json::object();
  if (!path.empty()) {
    MR_ASSIGN_OR_RETURN(const std::string yaml, ReadFile(path));
    auto json = ParseYaml(yaml);
    if (!json.ok()) return Annotate(json.status(), path);
    if (json->is_object())
      all = *std::move(json);
    else if (!json->is_null()) {
      return Error(StatusCode::kInvalidArgument, "{}: the file must hold settings as key: value",
                   path);
    }
    MR_RETURN_IF_ERROR(Merge(all, out, path));
    out->Clear();
  }
  const std::string prefix = std::string(env_prefix) + "__";
  for (const std::string& entry : environment) {
    const size_t equals = entry.find('=');
    if (entry.rfind(prefix, 0) != 0 || equals == std::string::npos) continue;
    std::string name = entry.substr(prefix.size(), equals - prefix.size());
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    Json one = Json::object();
    SetPath(&one, Split(name, "__"), ValueToJson(entry.substr(equals + 1)));
    std::unique_ptr<google::protobuf::Message> scratch(out->New());
    MR_RETURN_IF_ERROR(Merge(one, scratch.get(), entry.substr(0, equals)));
    all.merge_patch(one);
  }
  for (const auto& [key, value] : overrides) {
    Json one = Json::object();
    SetPath(&one, Split(key, "."), ValueToJson(value));
    std::unique_ptr<google::protobuf::Message> scratch(out->New());
    MR_RETURN_IF_ERROR(Merge(one, scratch.get(), "--set " + key));
    all.merge_patch(one);
  }
  return Merge(all, out, path.empty() ? "settings" : path);
}

}  // namespace millrace::config
