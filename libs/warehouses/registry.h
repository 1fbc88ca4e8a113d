#pragma once

#include <memory>
#include <vector>

#include "libs/warehouse/session.h"

namespace millrace::warehouses {

/// Every kind of warehouse that is compiled in; the source is generated.
std::vector<std::unique_ptr<warehouse::Warehouse>> All();

}  // namespace millrace::warehouses
