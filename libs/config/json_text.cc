#include "libs/config/json_text.h"

#include <nlohmann/json.hpp>

#include <string>

namespace millrace::config {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxReason = 300;

}  // namespace

StatusOr<Json> ParseJsonText(std::string_view text) {
  try {
    return Json::parse(text);
  } catch (const Json::exception& fault) {
    std::string_view reason = fault.what();
    for (const std::string_view before : {"] ", "parse error at "}) {
      const size_t place = reason.find(before);
      if (place != std::string_view::npos) reason.remove_prefix(place + before.size());
    }
    return Error(StatusCode::kInvalidArgument, "not JSON: {}", reason.substr(0, kMaxReason));
  }
}

}  // namespace millrace::config
