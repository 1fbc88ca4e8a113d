#include "libs/service/outbound.h"

#include <string>
#include <vector>

namespace millrace::service {

Status ShareAllowedNetworks(settings::v1::ProcessSettings& settings) {
  const auto& networks = settings.outbound().allowed_networks();
  const auto guard = http::OutboundGuard::Create({networks.begin(), networks.end()});
  if (!guard.ok()) return Annotate(guard.status(), "outbound");
  settings.mutable_router()->mutable_allowed_networks()->MergeFrom(networks);
  settings.mutable_transformation()->mutable_allowed_networks()->MergeFrom(networks);
  return OkStatus();
}

StatusOr<http::OutboundGuard> WarehouseGuard(const settings::v1::ProcessSettings& settings) {
  const auto& outbound = settings.outbound().allowed_networks();
  const auto& router = settings.router().allowed_networks();
  std::vector<std::string> networks(outbound.begin(), outbound.end());
  networks.insert(networks.end(), router.begin(), router.end());
  return http::OutboundGuard::Create(networks);
}

}  // namespace millrace::service
