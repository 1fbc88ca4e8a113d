#include "libs/service/outbound.h"

#include <catch2/catch.hpp>

namespace millrace::service {
namespace {

TEST_CASE("outbound.allowed_networks counts for router, transformations and warehouses",
          "[outbound]") {
  settings::v1::ProcessSettings settings;
  settings.mutable_outbound()->add_allowed_networks("10.1.0.0/16");
  settings.mutable_transformation()->add_allowed_networks("10.2.0.0/16");
  REQUIRE(ShareAllowedNetworks(settings).ok());
  REQUIRE(settings.router().allowed_networks_size() == 1);
  CHECK(settings.router().allowed_networks(0) == "10.1.0.0/16");
  CHECK(settings.transformation().allowed_networks_size() == 2);
  const auto guard = WarehouseGuard(settings);
  REQUIRE(guard.ok());
  CHECK(guard->AllowsText("10.1.2.3"));
  CHECK_FALSE(guard->AllowsText("10.2.2.3"));
}

TEST_CASE("a settings file of an older version allows its router's networks to warehouses",
          "[outbound]") {
  settings::v1::ProcessSettings settings;
  settings.mutable_router()->add_allowed_networks("127.0.0.0/8");
  REQUIRE(ShareAllowedNetworks(settings).ok());
  CHECK(WarehouseGuard(settings)->AllowsText("127.0.0.1"));
  CHECK(settings.transformation().allowed_networks().empty());
}

TEST_CASE("what is no network is named with its setting", "[outbound]") {
  settings::v1::ProcessSettings settings;
  settings.mutable_outbound()->add_allowed_networks("here");
  const Status status = ShareAllowedNetworks(settings);
  CHECK(status.code() == StatusCode::kInvalidArgument);
  CHECK(Message(status) ==
        "outbound: allowed_networks: \"here\" is not a network such as 10.1.0.0/16");
}

}  // namespace
}  // namespace millrace::service
