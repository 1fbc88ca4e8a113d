#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libs/destination/exchange.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "millrace/destination/v1/definition.pb.h"

namespace millrace::router {

/// Every string inside the secret fields of a destination's configuration, longest first. Strings
/// of fewer than four characters are left out: masking them would only garble.
std::vector<std::string> SecretsOf(const destination::v1::Definition& definition,
                                   const std::string& config_json);

/// Request and answer as they may be stored and shown: secrets and credentials masked, bodies cut
/// to 10 KiB.
delivery::v1::HttpExchange MaskedExchange(const destination::Prepared& request,
                                          const destination::Answer& response,
                                          const std::vector<std::string>& secrets);

}  // namespace millrace::router
