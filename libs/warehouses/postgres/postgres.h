#pragma once

#include <memory>
#include <string_view>

#include "libs/base/status.h"
#include "libs/warehouse/session.h"
#include "libs/warehouses/postgres/connection.h"

namespace millrace::warehouses::postgres {

std::unique_ptr<warehouse::Warehouse> Make();

/// A destination's configuration, RudderStack's keys. kInvalidArgument names the key that is wrong.
StatusOr<ConnectOptions> ParseConfig(std::string_view config_json);

}  // namespace millrace::warehouses::postgres
