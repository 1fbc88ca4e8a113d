#pragma once

#include "libs/base/status.h"
#include "libs/http/guard.h"
#include "millrace/settings/v1/process.pb.h"

namespace millrace::service {

/// `outbound.allowed_networks` counts for every part of a process that connects on behalf of users:
/// adds them to what the router and transformations are given. kInvalidArgument names the setting.
Status ShareAllowedNetworks(settings::v1::ProcessSettings& settings);

/// The guard for connections to warehouses: `outbound.allowed_networks`, and, as in settings files
/// of older versions, `router.allowed_networks`.
StatusOr<http::OutboundGuard> WarehouseGuard(const settings::v1::ProcessSettings& settings);

}  // namespace millrace::service
