#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/base/status.h"

namespace millrace::config {

/// Fills `out`, a settings message, from a YAML file (`path`, may be empty), then the environment
/// ("NAME=value" entries that begin with `env_prefix` and two underscores, further levels split by
/// two underscores: MILLRACE__GATEWAY__LISTEN), then `overrides` (key.path, value). Later ones win.
///
/// kInvalidArgument names the file, variable or override and the path of a key that does not exist
/// or has a value of the wrong kind.
Status LoadSettings(const std::string& path, std::string_view env_prefix,
                    const std::vector<std::string>& environment,
                    const std::vector<std::pair<std::string, std::string>>& overrides,
                    google::protobuf::Message* out);

/// A YAML document as JSON text. Scalars without quotes become numbers, booleans and null as in
/// YAML's core schema; quoted ones stay strings. kInvalidArgument names line and column.
StatusOr<std::string> YamlToJson(const std::string& yaml);

}  // namespace millrace::config
