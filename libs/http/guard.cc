#include "libs/http/guard.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace millrace::http {
namespace {

// What of IPv4 and of 2000::/3, the only IPv6 network given out, is not public unicast (IANA's
// special-purpose registries) or carries an IPv4 address inside; and the one public address that
// serves a cloud's metadata to its machines (Azure's).
constexpr const char* kDenied[] = {
    "0.0.0.0/8",        "10.0.0.0/8",      "100.64.0.0/10",  "127.0.0.0/8",    "169.254.0.0/16",
    "172.16.0.0/12",    "192.0.0.0/24",    "192.0.2.0/24",   "192.88.99.0/24", "192.168.0.0/16",
    "198.18.0.0/15",    "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",    "240.0.0.0/4",
    "168.63.129.16/32", "2001::/23",       "2001:db8::/32",  "2002::/16",      "3fff::/20"};

constexpr std::string_view kUnixPrefix = "unix:";

constexpr uint8_t kMappedPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

}  // namespace

StatusOr<OutboundGuard> OutboundGuard::Create(const std::vector<std::string>& allowed_networks) {
  OutboundGuard guard;
  for (const std::string& cidr : allowed_networks) {
    if (cidr.rfind(kUnixPrefix, 0) == 0) {
      guard.allowed_folders_.push_back(cidr.substr(kUnixPrefix.size()));
      continue;
    }
    Network network;
    if (!ParseNetwork(cidr, &network)) {
      return Error(StatusCode::kInvalidArgument,
                   "allowed_networks: \"{}\" is not a network such as 10.1.0.0/16", cidr);
    }
    guard.allowed_.push_back(network);
  }
  return guard;
}

bool OutboundGuard::Parse(const std::string& text, Address* address) {
  in_addr v4{};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) {
    std::copy(std::begin(kMappedPrefix), std::end(kMappedPrefix), address->begin());
    std::memcpy(address->data() + 12, &v4, 4);
    return true;
  }
  return inet_pton(AF_INET6, text.c_str(), address->data()) == 1;
}

bool OutboundGuard::ParseNetwork(std::string_view cidr, Network* network) {
  const size_t slash = cidr.find('/');
  const std::string text(cidr.substr(0, slash));
  if (!Parse(text, &network->address)) return false;
  const int width = text.find(':') == std::string::npos ? 32 : 128;
  int bits = width;
  if (slash != std::string_view::npos) {
    const std::string_view digits = cidr.substr(slash + 1);
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (code != std::errc() || end != digits.data() + digits.size() || bits < 0 || bits > width) {
      return false;
    }
  }
  network->prefix_bits = bits + (128 - width);
  return true;
}

bool OutboundGuard::Contains(const Network& network, const Address& address) {
  const int bytes = network.prefix_bits / 8;
  const int bits = network.prefix_bits % 8;
  if (!std::equal(address.begin(), address.begin() + bytes, network.address.begin())) return false;
  if (bits == 0) return true;
  const size_t last = static_cast<size_t>(bytes);
  return ((address[last] ^ network.address[last]) >> (8 - bits)) == 0;
}

const std::vector<OutboundGuard::Network>& OutboundGuard::Denied() {
  static const std::vector<Network> networks = [] {
    std::vector<Network> parsed;
    for (const char* cidr : kDenied) {
      Network network;
      MR_CHECK(ParseNetwork(cidr, &network));
      parsed.push_back(network);
    }
    return parsed;
  }();
  return networks;
}

bool OutboundGuard::AllowsAddress(const Address& address) const {
  const auto contains = [&](const Network& network) { return Contains(network, address); };
  if (std::ranges::any_of(allowed_, contains)) return true;
  const bool v4 = std::equal(std::begin(kMappedPrefix), std::end(kMappedPrefix), address.begin());
  if (!v4 && (address[0] & 0xe0) != 0x20) return false;
  return std::ranges::none_of(Denied(), contains);
}

bool OutboundGuard::Allows(const sockaddr* address) const {
  Address bytes{};
  if (address->sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, address, sizeof v4);
    std::copy(std::begin(kMappedPrefix), std::end(kMappedPrefix), bytes.begin());
    std::memcpy(bytes.data() + 12, &v4.sin_addr, 4);
  } else if (address->sa_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, address, sizeof v6);
    std::memcpy(bytes.data(), &v6.sin6_addr, 16);
  } else {
    return false;
  }
  return AllowsAddress(bytes);
}

bool OutboundGuard::AllowsText(const std::string& address) const {
  Address bytes{};
  return Parse(address, &bytes) && AllowsAddress(bytes);
}

bool OutboundGuard::AllowsUnix(const std::string& folder) const {
  return std::ranges::find(allowed_folders_, folder) != allowed_folders_.end();
}

std::string OutboundGuard::Refusal(const std::string& address) {
  if (address.find('/') != std::string::npos || address.find('@') != std::string::npos) {
    return fmt::format(
        "{} is a Unix socket; an operator can allow those of a folder in the setting "
        "outbound.allowed_networks, as unix:/folder",
        address);
  }
  return fmt::format(
      "{} is a private or special address; an operator can allow its network in the setting "
      "outbound.allowed_networks",
      address);
}

}  // namespace millrace::http
