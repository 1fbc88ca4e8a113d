#include "libs/http/guard.h"

#include <catch2/catch.hpp>

namespace millrace::http {
namespace {

TEST_CASE("OutboundGuard refuses everything that is not public", "[guard]") {
  const auto guard = OutboundGuard::Create({});
  REQUIRE(guard.ok());
  const auto* const denied = GENERATE(
      "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.9.9.9",
      "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1", "192.0.0.192", "198.18.0.1",
      "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1",
      "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1",
      "64:ff9b::8.8.8.8", "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "fc00::1", "fd00:ec2::254",
      "fe80::1", "fec0::1", "ff02::1", "::ffff:0:127.0.0.1", "::ffff:100.100.100.200",
      "::ffff:a00:1", "64:ff9b::169.254.169.254", "64:ff9b::a9fe:a9fe",
      "2002:a9fe:a9fe::", "2002:a00:1::1", "2002:808:808::", "2001:0:4136:e378::", "fdff::1",
      "fe80::a9fe:a9fe", "febf::1", "100::1", "100:0:0:1::1", "0400::1", "1fff::1", "4000::1",
      "8000::1", "5f00::1", "3fff::1", "2001:db8::1", "169.254.170.2", "100.100.100.200",
      "168.63.129.16", "::ffff:168.63.129.16", "192.88.99.1", "203.0.113.1", "fec0::1", "fd00::1",
      "not an address", "", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "[::1]",
      "127.0.0.1 ", "::1%lo");
  CAPTURE(denied);
  CHECK_FALSE(guard->AllowsText(denied));
}

TEST_CASE("OutboundGuard lets public addresses through", "[guard]") {
  const auto guard = OutboundGuard::Create({});
  REQUIRE(guard.ok());
  const auto* const allowed = GENERATE(
      "8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1",
      "192.169.0.1", "223.255.255.255", "::ffff:8.8.8.8", "2606:4700::1111", "2a00::1",
      "2001:4860:4860::8888", "3ffe::1", "168.63.129.15", "169.253.255.255", "169.255.0.0");
  CAPTURE(allowed);
  CHECK(guard->AllowsText(allowed));
}

TEST_CASE("OutboundGuard knows the operator's networks", "[guard]") {
  const auto guard = OutboundGuard::Create({"127.0.0.0/8", "10.1.2.0/23", "::1"});
  REQUIRE(guard.ok());
  CHECK(guard->AllowsText("127.0.0.1"));
  CHECK(guard->AllowsText("::ffff:127.0.0.1"));
  CHECK(guard->AllowsText("10.1.3.255"));
  CHECK(guard->AllowsText("::1"));
  CHECK_FALSE(guard->AllowsText("10.1.4.0"));
  CHECK_FALSE(guard->AllowsText("192.168.0.1"));
  for (const char* bad : {"10.0.0.0/33", "10.0.0/8", "x/8", "10.0.0.0/", "::/129", "10.0.0.0/-1"}) {
    CAPTURE(bad);
    CHECK(OutboundGuard::Create({bad}).status().code() == StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace millrace::http
