#pragma once

#include <string>
#include <vector>

#include "libs/base/status.h"
#include "millrace/config/v1/workspace.pb.h"

/// Transformations in files, as `millrace transform` finds them:
///   DIR/<name>/transformation.js or rules.yaml    one transformation
///   DIR/<name>/libraries/*.js, DIR/libraries/*.js  what it imports, by file name; its own first
///   DIR/<name>/credentials.yaml                    key: value
///   DIR/<name>/tests/*.json                        fixtures
/// DIR may also be the folder of one transformation.
namespace millrace::cli {

struct LocalTransformation {
  std::string name;
  config::v1::TransformationVersion version;
  config::v1::Workspace workspace;    // libraries and credentials
  std::vector<std::string> fixtures;  // files, in order
};

/// In the order of their names. kNotFound: there is none; kInvalidArgument: a file that cannot be
/// read.
StatusOr<std::vector<LocalTransformation>> ReadProject(const std::string& folder);

/// The transformation whose code is `file`.
StatusOr<LocalTransformation> ReadTransformation(const std::string& file);

}  // namespace millrace::cli
