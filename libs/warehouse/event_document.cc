#include "libs/warehouse/event_document.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "libs/event/repair.h"

namespace millrace::warehouse {

using simdjson::dom::element;
using simdjson::dom::object;

namespace {

bool Fits64Bits(std::string_view digits) {
  const char* end = digits.data() + digits.size();
  int64_t number = 0;
  uint64_t positive = 0;
  return std::from_chars(digits.data(), end, number).ec == std::errc() ||
         std::from_chars(digits.data(), end, positive).ec == std::errc();
}

/// Integers beyond 64 bits in quotes: the parser refuses them bare.
std::string WithHugeIntegersQuoted(std::string_view json) {
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    const bool number = !in_string && (c == '-' || (c >= '0' && c <= '9'));
    if (number) {
      const size_t end = std::min(json.find_first_not_of("0123456789+-.eE", i), json.size());
      const std::string_view token = json.substr(i, end - i);
      const bool huge = token.find_first_of(".eE") == std::string_view::npos && !Fits64Bits(token);
      if (huge) out.push_back('"');
      out.append(token);
      if (huge) out.push_back('"');
      i = end - 1;
      continue;
    }
    out.push_back(c);
    if (c == '"') in_string = !in_string;
    if (in_string && c == '\\' && i + 1 < json.size()) out.push_back(json[++i]);
  }
  return out;
}

}  // namespace

bool GetObject(object parent, std::string_view key, object* child) {
  return parent.at_key(key).get(*child) == simdjson::SUCCESS;
}

std::string_view GetText(object parent, std::string_view key) {
  std::string_view text;
  return parent.at_key(key).get(text) == simdjson::SUCCESS ? text : std::string_view();
}

void AddJsonPath(std::string_view path, std::vector<std::string>* paths) {
  const std::string_view type = path.substr(0, path.find('.'));
  const bool whole = type == "track" || type == "identify" || type == "page" || type == "screen" ||
                     type == "group" || type == "alias" || type == "extract";
  if (whole) {
    paths->emplace_back(path);
  } else if (!path.empty()) {  // the older form: of track events
    paths->push_back(fmt::format("track.properties.{}", path));
    paths->push_back(fmt::format("track.userProperties.{}", path));
  }
}

bool ParseEvent(std::string_view json, simdjson::dom::parser& parser, object* event,
                std::string* error) {
  element document;
  auto result = parser.parse(json.data(), json.size(), true).get(document);
  if (result != simdjson::SUCCESS) {
    auto repaired = event::Repair(json);
    if (!repaired.ok()) {
      *error = fmt::format("the event is no JSON: {}", Message(repaired.status()));
      return false;
    }
    result = parser.parse(WithHugeIntegersQuoted(repaired->json)).get(document);
  }
  if (result != simdjson::SUCCESS || document.get(*event) != simdjson::SUCCESS) {
    *error = "the event is not a JSON object";
    return false;
  }
  return true;
}

EventOptions ReadEventOptions(object event, std::string_view destination_type,
                              const EventOptions& defaults) {
  EventOptions result = defaults;
  object integrations;
  if (!GetObject(event, "integrations", &integrations)) return result;
  for (const std::string_view key : {std::string_view("DATA_WAREHOUSE"), destination_type}) {
    object integration;
    object set;
    if (!GetObject(integrations, key, &integration) || !GetObject(integration, "options", &set)) {
      continue;
    }
    for (const auto& [name, flag] :
         {std::pair{"skipReservedKeywordsEscaping", &result.skip_escaping},
          std::pair{"skipTracksTable", &result.skip_tracks},
          std::pair{"skipUsersTable", &result.skip_users}}) {
      bool value = false;
      if (set.at_key(name).get(value) == simdjson::SUCCESS) *flag = value;
    }
    simdjson::dom::array paths;
    if (set.at_key("jsonPaths").get(paths) != simdjson::SUCCESS) continue;
    for (const element path : paths) {
      std::string_view text;
      if (path.get(text) == simdjson::SUCCESS) AddJsonPath(text, &result.json_paths);
    }
  }
  return result;
}

}  // namespace millrace::warehouse
