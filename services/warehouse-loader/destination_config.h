#pragma once

#include <chrono>
#include <string>

#include "libs/base/status.h"
#include "libs/warehouse/dialect.h"
#include "libs/warehouse/rows.h"
#include "millrace/config/v1/workspace.pb.h"

namespace millrace::warehouse_loader {

/// What the loader itself reads of a destination's configuration.
struct DestinationConfig {
  warehouse::RowOptions rows;
  std::chrono::milliseconds sync_interval{0};
};

/// kInvalidArgument names the key that is wrong. `default_interval`: of destinations that set none.
StatusOr<DestinationConfig> ParseDestinationConfig(const config::v1::Destination& destination,
                                                   const warehouse::Dialect& dialect,
                                                   std::chrono::milliseconds default_interval);

}  // namespace millrace::warehouse_loader
