#pragma once

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "libs/base/string_map.h"

namespace millrace::control_plane {

inline Status Invalid(std::string_view where, std::string_view what) {
  return Error(StatusCode::kInvalidArgument, "{}: {}", where, what);
}

/// Reads the fields of one entry and refuses those it does not know.
class Entry {
 public:
  Entry(const nlohmann::json& json, std::string where) : json_(json), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  Status Text(const char* key, std::string* out) {
    known_.insert(key);
    const auto found = json_.find(key);
    if (found == json_.end()) return OkStatus();
    if (!found->is_string()) return Invalid(where_, fmt::format("'{}' must be text", key));
    *out = found->get<std::string>();
    return OkStatus();
  }
  Status Flag(const char* key, bool* out) {
    known_.insert(key);
    const auto found = json_.find(key);
    if (found == json_.end()) return OkStatus();
    if (!found->is_boolean())
      return Invalid(where_, fmt::format("'{}' must be true or false", key));
    *out = found->get<bool>();
    return OkStatus();
  }
  Status Number(const char* key, int64_t* out) {
    known_.insert(key);
    const auto found = json_.find(key);
    if (found == json_.end()) return OkStatus();
    if (!found->is_number_integer()) {
      return Invalid(where_, fmt::format("'{}' must be a whole number", key));
    }
    *out = found->get<int64_t>();
    return OkStatus();
  }
  /// The value of `key`, or null.
  const nlohmann::json* Any(const char* key) {
    known_.insert(key);
    const auto found = json_.find(key);
    return found == json_.end() ? nullptr : &*found;
  }
  Status RefuseOthers() const {
    for (const auto& [key, value] : json_.items()) {
      if (known_.contains(key)) continue;
      std::vector<std::string> known(known_.begin(), known_.end());
      std::sort(known.begin(), known.end());
      return Invalid(where_,
                     fmt::format("unknown key '{}'; known: {}", key, fmt::join(known, ", ")));
    }
    return OkStatus();
  }

 private:
  const nlohmann::json& json_;
  std::string where_;
  StringSet known_;
};

}  // namespace millrace::control_plane
