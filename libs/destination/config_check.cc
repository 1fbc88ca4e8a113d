#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>

#include "libs/destination/catalogue.h"

namespace millrace::destination {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::string_view kMask = "********";

bool IsNumber(const Json& value) {
  if (value.is_number()) return true;
  if (!value.is_string()) return false;
  const auto& text = value.get_ref<const std::string&>();
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

bool AllOf(const Json& list, bool (*is)(const Json&)) {
  return list.is_array() && std::all_of(list.begin(), list.end(), is);
}

/// What `value` should have been, or "" when it is right. Numbers and booleans may also be given as
/// text, as RudderStack's dashboard does.
std::string Expected(const v1::Field& field, const Json& value) {
  switch (field.kind()) {
    case v1::NUMBER:
      return IsNumber(value) ? "" : "a number";
    case v1::BOOLEAN:
      return value.is_boolean() || value == "true" || value == "false" ? "" : "true or false";
    case v1::ENUM: {
      const auto& options = field.options();
      if (value.is_string() &&
          std::find(options.begin(), options.end(), value.get<std::string>()) != options.end()) {
        return "";
      }
      return fmt::format("one of {}", fmt::join(options.begin(), options.end(), ", "));
    }
    case v1::KEY_VALUE_LIST:
      return AllOf(value, [](const Json& item) { return item.is_object(); })
                 ? ""
                 : R"(a list like [{"from": "name", "to": "value"}])";
    case v1::STRING_LIST:
      return AllOf(value, [](const Json& item) { return item.is_string() || item.is_object(); })
                 ? ""
                 : R"(a list of texts like ["a", "b"])";
    case v1::JSON:
      return "";
    default:
      return value.is_string() ? "" : "a text";
  }
}

}  // namespace

Status ValidateConfig(const v1::Definition& definition, std::string_view config_json) {
  const Json config = Json::parse(config_json, nullptr, false);
  if (!config.is_object()) {
    return Error(StatusCode::kInvalidArgument, "config of a {} destination must be a JSON object",
                 definition.type());
  }
  for (const v1::Field& field : definition.fields()) {
    const auto found = config.find(field.name());
    const bool absent =
        found == config.end() || found->is_null() || (found->is_string() && *found == "");
    if (absent) {
      if (!field.required() || !field.default_json().empty()) continue;
      return Error(StatusCode::kInvalidArgument, "config.{} is missing; set it: {}", field.name(),
                   field.doc());
    }
    if (const std::string expected = Expected(field, *found); !expected.empty()) {
      return Error(StatusCode::kInvalidArgument, "config.{} must be {}: {}", field.name(), expected,
                   field.doc());
    }
  }
  return OkStatus();
}

std::string MaskSecrets(const v1::Definition& definition, std::string_view config_json) {
  Json config = Json::parse(config_json, nullptr, false);
  if (!config.is_object()) return "{}";
  for (const v1::Field& field : definition.fields()) {
    const auto found = config.find(field.name());
    if (!field.secret() || found == config.end() || found->is_null() || *found == "") continue;
    if (field.kind() == v1::KEY_VALUE_LIST && found->is_array()) {
      for (Json& item : *found) {
        if (item.is_object() && item.contains("to")) item["to"] = kMask;
      }
    } else {
      *found = kMask;
    }
  }
  return config.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace millrace::destination
