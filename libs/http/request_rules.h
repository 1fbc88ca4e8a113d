#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libs/http/client.h"

namespace millrace::http {

/// What a request may carry is decided here, where it leaves, for every caller:
///   - headers that frame a message or are for one hop only (Content-Length, Transfer-Encoding,
///     Host, Connection, Expect, Upgrade, TE, Trailer, Keep-Alive, Proxy-*) are the client's own:
///     dropped;
///   - names know no case and each is sent once: of several with one name the last counts, in the
///     place of the first;
///   - a name that is no token, a control character in a value, a method that is none or that opens
///     a tunnel, an address that is not HTTP or holds a control character: the request is refused.
///
/// Returns what is wrong with the request, a sentence; empty when it may leave. `dropped` gets the
/// lower-case names of headers that were dropped; those for a proxy as "proxy-*".
std::string TidyRequest(ClientRequest& request, std::vector<std::string_view>* dropped);

}  // namespace millrace::http
