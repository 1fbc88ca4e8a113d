#include "services/control-plane/event_json.h"

#include <nlohmann/json.hpp>

#include <algorithm>

#include "libs/config/json_text.h"

namespace millrace::control_plane {
namespace {

constexpr int kMaxDepth = 512;

int Depth(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

StatusOr<nlohmann::json> ParseJson(std::string_view text) {
  if (Depth(text) > kMaxDepth) {
    return Error(StatusCode::kInvalidArgument, "the JSON is nested more than {} levels deep",
                 kMaxDepth);
  }
  auto json = config::ParseJsonText(text);
  if (!json.ok())
    return Error(StatusCode::kInvalidArgument, "the body is {}", Message(json.status()));
  return json;
}

nlohmann::json EventToJson(std::string_view bytes) {
  auto json = ParseJson(bytes);
  return json.ok() ? *std::move(json) : nlohmann::json(std::string(bytes));
}

}  // namespace millrace::control_plane
