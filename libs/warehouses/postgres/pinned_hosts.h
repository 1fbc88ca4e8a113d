#pragma once

#include <string>

#include "libs/base/status.h"
#include "libs/http/guard.h"

namespace millrace::warehouses::postgres {

/// Hosts as libpq takes them: three lists of the same length, comma between.
struct PinnedHosts {
  std::string hosts;      // names, for the server's certificate
  std::string addresses;  // where to connect; empty for a Unix socket
  std::string ports;
};

/// `host` and `port` of a destination, each perhaps a list, with the addresses that the guard lets
/// through: libpq resolves nothing itself, so what was checked is what is connected to.
/// kInvalidArgument: they are no hosts and ports; else as http::GuardedAddresses.
StatusOr<PinnedHosts> PinHosts(const std::string& host, const std::string& port,
                               const http::OutboundGuard& guard);

}  // namespace millrace::warehouses::postgres
