#include "services/millrace/cli/test_events.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "libs/base/ids.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;
constexpr int kBatch = 100;
constexpr const char* kTypes[] = {"identify", "track", "page", "screen", "group", "alias"};

Json OneEvent(const TestEvents& wanted, const Json& properties, int number, const std::string& now) {
  Json event = {{"type", wanted.type},
                {"userId", wanted.user},
                {"messageId", NewUuid()},
                {"originalTimestamp", now},
                {"context", {{"library", {{"name", "millrace-cli"}}}}}};
  if (wanted.type == "identify" || wanted.type == "group") {
    event["traits"] = properties;
    if (wanted.type == "group") event["groupId"] = "test-group";
  } else if (wanted.type == "alias") {
    event["previousId"] = wanted.user + "-before";
  } else {
    event["properties"] = properties;
    event["properties"]["number"] = number;
    event[wanted.type == "track" ? "event" : "name"] = wanted.name;
  }
  return event;
}

}  // namespace

StatusOr<std::vector<std::string>> MakeBatches(const TestEvents& wanted, Clock& clock) {
  if (std::find(std::begin(kTypes), std::end(kTypes), wanted.type) == std::end(kTypes)) {
    return Error(StatusCode::kInvalidArgument,
                 "--type is '{}'; use identify, track, page, screen, group or alias", wanted.type);
  }
  if (wanted.count < 1) return Error(StatusCode::kInvalidArgument, "--count must be at least 1");
  if (wanted.user.empty()) return Error(StatusCode::kInvalidArgument, "--user must not be empty");
  Json properties = Json::object();
  if (!wanted.properties.empty()) {
    properties = Json::parse(wanted.properties, nullptr, false);
    if (!properties.is_object()) {
      return Error(StatusCode::kInvalidArgument, "--properties is not a JSON object: {}",
                   wanted.properties);
    }
  }
  const std::string now = FormatRfc3339Millis(clock.NowMicros());
  std::vector<std::string> bodies;
  for (int sent = 0; sent < wanted.count; sent += kBatch) {
    Json batch = Json::array();
    for (int i = sent; i < std::min(wanted.count, sent + kBatch); ++i) {
      batch.push_back(OneEvent(wanted, properties, i + 1, now));
    }
    bodies.push_back(Json{{"batch", std::move(batch)}, {"sentAt", now}}.dump(
        -1, ' ', false, Json::error_handler_t::replace));
  }
  return bodies;
}

}  // namespace millrace::cli
