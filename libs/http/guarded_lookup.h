#pragma once

#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/http/guard.h"

namespace millrace::http {

/// The addresses of `host`, in text, to which a library that makes its own connections may go: it
/// must be given these and not the name, which may lead elsewhere a moment later. Reads addresses
/// in every spelling that sockets take (127.1, 0x7f000001).
///
/// Waits for name servers: not for an event loop. Errors: kFailedPrecondition - `guard` refuses all
/// of them; the message names one and the setting; kUnavailable - the name cannot be resolved now.
StatusOr<std::vector<std::string>> GuardedAddresses(const OutboundGuard& guard,
                                                    const std::string& host);

}  // namespace millrace::http
