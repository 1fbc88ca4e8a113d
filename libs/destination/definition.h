#pragma once

#include <string>

#include "libs/base/status.h"
#include "millrace/destination/v1/definition.pb.h"

namespace millrace::destination {

/// Reads <folder>/definition.yaml. kInvalidArgument names the file and the field: unknown ones are
/// refused, and those that nothing reads when events are delivered; id must be the folder's name,
/// every configuration field needs a name and a doc, and its default must be of its kind.
StatusOr<v1::Definition> ReadDefinition(const std::string& folder);

}  // namespace millrace::destination
