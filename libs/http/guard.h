#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"

struct sockaddr;

namespace millrace::http {

/// Says to which addresses connections on behalf of users may go, whatever protocol they speak:
/// public unicast ones, and what the operator allows. It is asked with the address a socket is
/// about to connect to, so neither redirects nor DNS answers that change get past it.
///
/// A value; reading is thread-safe.
class OutboundGuard {
 public:
  /// `allowed_networks`: CIDR, IPv4 or IPv6, or "unix:/folder" for the Unix sockets in a folder.
  /// kInvalidArgument names the one that is none.
  static StatusOr<OutboundGuard> Create(const std::vector<std::string>& allowed_networks);

  /// False for families other than IPv4 and IPv6.
  bool Allows(const sockaddr* address) const;
  /// The same for an address in text; false when it is none.
  bool AllowsText(const std::string& address) const;
  /// Whether Unix sockets in `folder`, an absolute path, may be used. Only folders that are allowed
  /// by the same words.
  bool AllowsUnix(const std::string& folder) const;

  /// What to say when `address` (or a Unix socket) is refused: the address, and the setting that
  /// allows it.
  static std::string Refusal(const std::string& address);

 private:
  using Address = std::array<uint8_t, 16>;  // IPv4 as ::ffff:a.b.c.d
  struct Network {
    Address address{};
    int prefix_bits = 0;
  };

  static bool Parse(const std::string& text, Address* address);
  static bool ParseNetwork(std::string_view cidr, Network* network);
  static bool Contains(const Network& network, const Address& address);
  static const std::vector<Network>& Denied();
  bool AllowsAddress(const Address& address) const;

  std::vector<Network> allowed_;
  std::vector<std::string> allowed_folders_;
};

}  // namespace millrace::http
