#include "libs/http/guarded_lookup.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <memory>

namespace millrace::http {

StatusOr<std::vector<std::string>> GuardedAddresses(const OutboundGuard& guard,
                                                    const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  const int code = getaddrinfo(host.c_str(), nullptr, &hints, &raw);
  if (code != 0) {
    return Error(StatusCode::kUnavailable, "no address of {}: {}", host, gai_strerror(code));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> found(raw, &freeaddrinfo);
  std::vector<std::string> addresses;
  std::string refused;
  for (const addrinfo* each = found.get(); each != nullptr; each = each->ai_next) {
    std::array<char, NI_MAXHOST> text{};
    if (getnameinfo(each->ai_addr, each->ai_addrlen, text.data(), text.size(), nullptr, 0,
                    NI_NUMERICHOST) != 0) {
      continue;
    }
    if (!guard.Allows(each->ai_addr)) {
      if (refused.empty()) refused = text.data();
    } else if (std::ranges::find(addresses, text.data()) == addresses.end()) {
      addresses.emplace_back(text.data());
    }
  }
  if (!addresses.empty()) return addresses;
  if (refused.empty()) return Error(StatusCode::kUnavailable, "no address of {}", host);
  return MakeStatus(StatusCode::kFailedPrecondition, OutboundGuard::Refusal(refused));
}

}  // namespace millrace::http
