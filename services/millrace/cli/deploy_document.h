#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "services/millrace/cli/transform_project.h"

namespace millrace::cli {

/// The document, as `millrace apply` takes it, of a folder's transformations and the libraries they
/// bring. kInvalidArgument: two of them bring different libraries of one name.
StatusOr<nlohmann::json> DeployDocument(const std::vector<LocalTransformation>& project,
                                        bool publish);

/// `text` as a segment of a URL's path.
std::string PathSegment(std::string_view text);

}  // namespace millrace::cli
