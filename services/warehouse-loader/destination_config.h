#pragma once

#include <chrono>
#include <string>

#include "libs/destination/config.h"
#include "libs/warehouse/dialect.h"
#include "libs/warehouse/rows.h"
#include "millrace/config/v1/workspace.pb.h"

namespace millrace::warehouse_loader {

/// A destination's configuration, and what the loader itself reads of it.
struct DestinationConfig {
  destination::Config config;
  warehouse::RowOptions rows;
  std::chrono::milliseconds sync_interval{0};
};

/// `default_interval`: of destinations that set none.
DestinationConfig ReadDestinationConfig(const config::v1::Destination& destination,
                                        destination::Config config,
                                        const warehouse::Dialect& dialect,
                                        std::chrono::milliseconds default_interval);

}  // namespace millrace::warehouse_loader
