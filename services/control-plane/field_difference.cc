#include "services/control-plane/field_difference.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "services/control-plane/event_json.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;
using List = google::protobuf::RepeatedPtrField<config::v1::FieldDifference>;

constexpr int kMaxDifferences = 100;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// A null pointer: not there.
void Compare(const std::string& path, const Json* in_force, const Json* candidate, List* list) {
  if (list->size() >= kMaxDifferences) return;
  if (in_force != nullptr && candidate != nullptr) {
    if (*in_force == *candidate) return;
    if (in_force->is_object() && candidate->is_object()) {
      Json keys = *in_force;
      keys.update(*candidate);
      for (const auto& [key, value] : keys.items()) {
        const auto before = in_force->find(key);
        const auto after = candidate->find(key);
        Compare(path + "." + key, before == in_force->end() ? nullptr : &*before,
                after == candidate->end() ? nullptr : &*after, list);
      }
      return;
    }
    if (in_force->is_array() && candidate->is_array()) {
      for (size_t i = 0; i < std::max(in_force->size(), candidate->size()); ++i) {
        Compare(fmt::format("{}[{}]", path, i), i < in_force->size() ? &(*in_force)[i] : nullptr,
                i < candidate->size() ? &(*candidate)[i] : nullptr, list);
      }
      return;
    }
  }
  auto* one = list->Add();
  one->set_path(path);
  if (in_force != nullptr) one->set_in_force_json(Dump(*in_force));
  if (candidate != nullptr) one->set_candidate_json(Dump(*candidate));
}

Json ListOf(const JsonTexts& texts) {
  Json list = Json::array();
  for (const std::string& text : texts) list.push_back(EventToJson(text));
  return list;
}

}  // namespace

List Differences(const JsonTexts& in_force, const JsonTexts& candidate) {
  List list;
  const Json before = ListOf(in_force);
  const Json after = ListOf(candidate);
  Compare("", &before, &after, &list);
  return list;
}

}  // namespace millrace::control_plane
