#pragma once

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <optional>
#include <string>

#include "libs/base/status.h"

namespace millrace::cli {

/// The value of an environment variable; none: it is not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// The document that `millrace apply` sends: `path`, YAML or JSON, in which `file` of
/// transformations and libraries is replaced by the text of that file (relative to the document's
/// folder) under `code`, and `valueFrom: {env: NAME}` of credentials by the variable's value.
///
/// kInvalidArgument and kNotFound name the entry and what is missing; no message holds a value.
StatusOr<nlohmann::json> ReadDocument(const std::string& path, const Environment& environment);

/// The environment of this process.
std::optional<std::string> ProcessEnvironment(const std::string& name);

}  // namespace millrace::cli
