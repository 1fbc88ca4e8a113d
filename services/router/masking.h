#pragma once

#include <string>

#include "libs/destination/exchange.h"
#include "libs/secrets/mask.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "millrace/destination/v1/definition.pb.h"

namespace millrace::router {

/// Masks the secrets of a destination's configuration; nothing when it cannot be read, as nothing
/// is sent by it then.
secrets::Mask MaskOf(const destination::v1::Definition& definition, const std::string& config_json);

/// Request and answer as they may be stored and shown: secrets and credentials masked, bodies cut
/// to 10 KiB.
delivery::v1::HttpExchange MaskedExchange(const destination::Prepared& request,
                                          const destination::Answer& answer,
                                          const secrets::Mask& mask);

}  // namespace millrace::router
