#include "libs/destination/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

namespace millrace::destination {

using Json = nlohmann::ordered_json;

struct Config::Values {
  Json fields = Json::object();  // those that are set
  std::string json;
  std::vector<std::string> secrets;

  /// Null when the field is not set.
  const Json* Find(std::string_view field) const {
    const auto found = fields.find(field);
    return found == fields.end() ? nullptr : &*found;
  }
};

namespace {

constexpr std::string_view kMask = "********";
constexpr double kLargestWhole = 9007199254740992;  // up to here a double holds every whole number

bool Absent(const Json& value) {
  return value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty());
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

/// Null when `value` is no number.
Json ReadNumber(const Json& value) {
  double number = 0;
  if (value.is_number()) {
    number = value.get<double>();
  } else if (value.is_string()) {
    const std::string_view text = Trimmed(value.get_ref<const std::string&>());
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return nullptr;
  } else {
    return nullptr;
  }
  if (!std::isfinite(number)) return nullptr;
  const bool whole = number == std::floor(number) && std::abs(number) <= kLargestWhole;
  return whole ? Json(static_cast<int64_t>(number)) : Json(number);
}

/// A text, number or boolean as text. False for anything else.
bool ReadScalar(const Json& value, std::string* text) {
  text->clear();
  if (value.is_string()) *text = value.get<std::string>();
  if (value.is_number() || value.is_boolean()) *text = value.dump();
  return value.is_primitive();
}

/// Null when it is none. Rows that a form left empty go.
Json ReadKeyValueList(const Json& value) {
  if (!value.is_array()) return nullptr;
  Json list = Json::array();
  for (const Json& item : value) {
    std::string from;
    std::string to;
    if (!item.is_object() || !ReadScalar(item.value("from", Json()), &from) ||
        !ReadScalar(item.value("to", Json()), &to)) {
      return nullptr;
    }
    if (!from.empty() || !to.empty()) list.push_back({{"from", from}, {"to", to}});
  }
  return list;
}

/// A list of texts, one text with commas, or RudderStack's list of objects of one text each. Null
/// when it is none of them.
Json ReadStringList(const Json& value) {
  Json list = Json::array();
  const auto add = [&list](std::string_view text) {
    text = Trimmed(text);
    if (!text.empty()) list.push_back(text);
  };
  if (value.is_string()) {
    std::string_view rest = value.get_ref<const std::string&>();
    while (!rest.empty()) {
      const size_t comma = std::min(rest.find(','), rest.size());
      add(rest.substr(0, comma));
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
    return list;
  }
  if (!value.is_array()) return nullptr;
  for (const Json& item : value) {
    const Json& text = item.is_object() && item.size() == 1 ? *item.begin() : item;
    if (!text.is_string()) return nullptr;
    add(text.get_ref<const std::string&>());
  }
  return list;
}

/// Whether `text` is https://host[:port] or http, with "*." before the host or not.
bool IsOrigin(std::string_view text) {
  size_t host = text.find("://");
  if (host == std::string_view::npos) return false;
  if (text.substr(0, host) != "https" && text.substr(0, host) != "http") return false;
  host += 3;
  if (text.substr(host).starts_with("*.")) host += 2;
  return host < text.size() &&
         std::all_of(text.begin() + static_cast<ptrdiff_t>(host), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  std::string_view("-._:[]").find(c) != std::string_view::npos;
         });
}

/// A list of origins in lower case; null when it is none.
Json ReadOriginList(const Json& value) {
  Json list = ReadStringList(value);
  for (Json& item : list) {
    auto& text = item.get_ref<std::string&>();
    for (char& c : text) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    if (text.ends_with('/')) text.pop_back();
    if (!IsOrigin(text)) return nullptr;
  }
  return list;
}

/// The value in its field's kind, or null with what it should have been.
Json Read(const v1::Field& field, const Json& value, std::string* expected) {
  Json read;
  switch (field.kind()) {
    case v1::NUMBER: {
      read = ReadNumber(value);
      *expected = "a number";
      const bool least = field.has_minimum();
      const bool most = field.has_maximum();
      if (least && most)
        *expected = fmt::format("a number from {} to {}", field.minimum(), field.maximum());
      if (least && !most) *expected = fmt::format("a number from {}", field.minimum());
      if (!least && most) *expected = fmt::format("a number up to {}", field.maximum());
      if (read.is_number() && ((least && read.get<double>() < field.minimum()) ||
                               (most && read.get<double>() > field.maximum()))) {
        read = nullptr;
      }
      return read;
    }
    case v1::BOOLEAN:
      *expected = "true or false";
      if (value.is_boolean()) return value;
      if (value == "true" || value == "false") return value == "true";
      return nullptr;
    case v1::ENUM: {
      const auto& options = field.options();
      *expected = fmt::format("one of {}", fmt::join(options.begin(), options.end(), ", "));
      if (!value.is_string()) return nullptr;
      const bool known =
          std::find(options.begin(), options.end(), value.get<std::string>()) != options.end();
      return known ? value : Json();
    }
    case v1::KEY_VALUE_LIST:
      *expected = R"(a list like [{"from": "name", "to": "value"}])";
      return ReadKeyValueList(value);
    case v1::STRING_LIST:
      *expected = R"(a list of texts like ["a", "b"])";
      return ReadStringList(value);
    case v1::ORIGIN_LIST:
      *expected = R"(a list of origins like ["https://api.example.com", "https://*.example.com"])";
      return ReadOriginList(value);
    case v1::JSON:
      return value;
    default:
      *expected = "a text";
      return value.is_string() ? value : Json();
  }
}

void CollectTexts(const Json& value, std::vector<std::string>* texts) {
  if (value.is_string()) {
    texts->push_back(value.get<std::string>());
  } else if (value.is_structured()) {
    for (const Json& part : value) CollectTexts(part, texts);
  }
}

void CollectSecrets(const v1::Field& field, const Json& value, std::vector<std::string>* secrets) {
  if (!field.secret()) return;
  if (field.kind() != v1::KEY_VALUE_LIST) return CollectTexts(value, secrets);
  for (const Json& item : value) CollectTexts(item["to"], secrets);
}

}  // namespace

StatusOr<Config> NormaliseConfig(const v1::Definition& definition, std::string_view config_json) {
  const Json given = Json::parse(config_json, nullptr, false);
  if (!given.is_object()) {
    return Error(StatusCode::kInvalidArgument, "config of a {} destination must be a JSON object",
                 definition.type());
  }
  auto values = std::make_shared<Config::Values>();
  for (const v1::Field& field : definition.fields()) {
    Json value = given.value(field.name(), Json());
    const bool absent = Absent(value);
    if (absent && !field.default_json().empty()) {
      value = Json::parse(field.default_json(), nullptr, false);
    } else if (absent && field.required()) {
      return Error(StatusCode::kInvalidArgument, "config.{} is missing; set it: {}", field.name(),
                   field.doc());
    } else if (absent) {
      continue;
    }
    std::string expected;
    Json read = Read(field, value, &expected);
    if (read.is_null()) {
      return Error(StatusCode::kInvalidArgument, "config.{} must be {}: {}", field.name(), expected,
                   field.doc());
    }
    CollectSecrets(field, read, &values->secrets);
    values->fields[field.name()] = std::move(read);
  }
  values->json = values->fields.dump(-1, ' ', false, Json::error_handler_t::replace);
  return Config(std::move(values));
}

Status CheckDefault(const v1::Field& field) {
  if (field.default_json().empty()) return OkStatus();
  const Json value = Json::parse(field.default_json(), nullptr, false);
  std::string expected;
  if (!value.is_discarded() && Read(field, value, &expected) == value) return OkStatus();
  return Error(StatusCode::kInvalidArgument, "must be {}, as JSON", expected);
}

std::string Config::Text(std::string_view field) const {
  const Json* value = values_->Find(field);
  return value == nullptr || !value->is_string() ? std::string() : value->get<std::string>();
}

std::optional<double> Config::Number(std::string_view field) const {
  const Json* value = values_->Find(field);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  return value->get<double>();
}

bool Config::Flag(std::string_view field) const {
  const Json* value = values_->Find(field);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

std::vector<std::string> Config::List(std::string_view field) const {
  const Json* value = values_->Find(field);
  std::vector<std::string> list;
  if (value != nullptr && value->is_array()) CollectTexts(*value, &list);
  return list;
}

const std::string& Config::json() const {
  return values_->json;
}

const std::vector<std::string>& Config::secrets() const {
  return values_->secrets;
}

std::string MaskSecrets(const v1::Definition& definition, std::string_view config_json) {
  Json config = Json::parse(config_json, nullptr, false);
  if (!config.is_object()) return "{}";
  for (const v1::Field& field : definition.fields()) {
    const auto found = config.find(field.name());
    if (!field.secret() || found == config.end() || Absent(*found)) continue;
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
