#pragma once

#include <simdjson.h>

#include <string>
#include <string_view>
#include <vector>

namespace millrace::warehouse {

/// Options of the layout: the destination's, refined by integrations.<type>.options of an event.
struct EventOptions {
  bool skip_escaping = false;
  bool skip_tracks = false;
  bool skip_users = false;
  std::vector<std::string> json_paths;  // whole: "track.properties.location"
};

/// Parses an event; what the parser refuses although it is JSON of a sort is mended. False with the
/// reason when there is no way to read it. `event` lives until the parser's next document.
bool ParseEvent(std::string_view json, simdjson::dom::parser& parser, simdjson::dom::object* event,
                std::string* error);

EventOptions ReadEventOptions(simdjson::dom::object event, std::string_view destination_type,
                              const EventOptions& defaults);

/// Adds `path` of the configuration; one that names no event type is of track events' properties.
void AddJsonPath(std::string_view path, std::vector<std::string>* paths);

bool GetObject(simdjson::dom::object parent, std::string_view key, simdjson::dom::object* child);
/// Empty when it is absent or no string.
std::string_view GetText(simdjson::dom::object parent, std::string_view key);

}  // namespace millrace::warehouse
