#pragma once

#include <string_view>

#include "libs/base/status.h"

namespace millrace {

/// Arms failpoints for tests from "name:n:action[,name:n:action]": at the n-th passing of `name`
/// the process kills itself (`kill`), stops (`stop`), or Failpoint() answers an error (`error`).
Status ArmFailpoints(std::string_view spec);

/// OK unless this failpoint is armed and due. Costs one relaxed load when none is armed.
Status Failpoint(std::string_view name);

}  // namespace millrace
