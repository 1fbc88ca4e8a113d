#include "libs/http/guarded_lookup.h"

#include <catch2/catch.hpp>

namespace millrace::http {
namespace {

OutboundGuard GuardOf(const std::vector<std::string>& allowed) {
  auto guard = OutboundGuard::Create(allowed);
  REQUIRE(guard.ok());
  return *guard;
}

TEST_CASE("an address that is not public is refused in every spelling", "[guard]") {
  const auto host = GENERATE(values<std::string>({"127.0.0.1",
                                                  "localhost",
                                                  "LOCALHOST",
                                                  "127.1",
                                                  "127.0.1",
                                                  "2130706433",
                                                  "0x7f000001",
                                                  "0x7f.1",
                                                  "0177.0.0.1",
                                                  "017700000001",
                                                  "0",
                                                  "0.0.0.0",
                                                  "::1",
                                                  "::",
                                                  "::ffff:127.0.0.1",
                                                  "::ffff:7f00:1",
                                                  "169.254.169.254",
                                                  "2852039166",
                                                  "0xa9fea9fe",
                                                  "::ffff:169.254.169.254",
                                                  "fd00:ec2::254",
                                                  "100.100.100.200",
                                                  "192.0.0.192",
                                                  "168.63.129.16",
                                                  "10.1.2.3",
                                                  "172.16.0.1",
                                                  "192.168.1.1",
                                                  "100.64.0.1",
                                                  "198.18.0.1",
                                                  "fd00::1",
                                                  "fe80::1%lo",
                                                  "fec0::1",
                                                  "2001:db8::1",
                                                  "255.255.255.255",
                                                  "224.0.0.1",
                                                  "64:ff9b::7f00:1",
                                                  "2002:7f00:1::1",
                                                  "2001::1"}));
  CAPTURE(host);
  const auto addresses = GuardedAddresses(GuardOf({}), host);
  REQUIRE_FALSE(addresses.ok());
  CHECK(addresses.status().code() == StatusCode::kFailedPrecondition);
  CHECK(Message(addresses.status()).find("outbound.allowed_networks") != std::string::npos);
}

TEST_CASE("addresses that are public or allowed come as plain text", "[guard]") {
  CHECK(*GuardedAddresses(GuardOf({}), "93.184.216.34") ==
        std::vector<std::string>{"93.184.216.34"});
  CHECK(*GuardedAddresses(GuardOf({"127.0.0.0/8"}), "127.1") ==
        std::vector<std::string>{"127.0.0.1"});
  const auto local = GuardedAddresses(GuardOf({"127.0.0.0/8"}), "localhost");
  REQUIRE(local.ok());
  CHECK(*local == std::vector<std::string>{"127.0.0.1"});
}

TEST_CASE("what is no host has no address", "[guard]") {
  const auto host =
      GENERATE(values<std::string>({"a b", "postgresql://127.0.0.1/x", "127.0.0.1:5432", "[::1]",
                                    "host=127.0.0.1", "999.1.1.1"}));
  CAPTURE(host);
  CHECK_FALSE(GuardedAddresses(GuardOf({"127.0.0.0/8", "::1/128"}), host).ok());
}

TEST_CASE("Unix sockets are allowed by folder, and only by name", "[guard]") {
  const OutboundGuard guard = GuardOf({"unix:/run/postgresql"});
  CHECK(guard.AllowsUnix("/run/postgresql"));
  CHECK_FALSE(guard.AllowsUnix("/run/postgresql/../other"));
  CHECK_FALSE(guard.AllowsUnix("/run"));
  CHECK_FALSE(GuardOf({"0.0.0.0/0", "::/0"}).AllowsUnix("/run/postgresql"));
  CHECK(OutboundGuard::Refusal("/tmp").find("unix:/folder") != std::string::npos);
}

}  // namespace
}  // namespace millrace::http
