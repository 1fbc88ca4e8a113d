#pragma once

#include <memory>
#include <vector>

#include "libs/http/guard.h"
#include "libs/warehouse/session.h"

namespace millrace::warehouses {

/// Every kind of warehouse that is compiled in; the source is generated. None connects to an
/// address that `guard` refuses.
std::vector<std::unique_ptr<warehouse::Warehouse>> All(const http::OutboundGuard& guard);

}  // namespace millrace::warehouses
