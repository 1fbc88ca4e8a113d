#pragma once

#include <memory>

#include "libs/base/status.h"
#include "libs/destination/config.h"
#include "libs/warehouse/session.h"
#include "libs/warehouses/postgres/connection.h"

namespace millrace::warehouses::postgres {

/// It connects to no address that `guard` refuses.
std::unique_ptr<warehouse::Warehouse> Make(const http::OutboundGuard& guard);

/// How to connect to a destination. kInvalidArgument names the key that is wrong.
StatusOr<ConnectOptions> OptionsOf(const destination::Config& config);

}  // namespace millrace::warehouses::postgres
