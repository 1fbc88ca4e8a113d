#include "libs/warehouses/postgres/pinned_hosts.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "libs/http/guarded_lookup.h"

namespace millrace::warehouses::postgres {
namespace {

std::vector<std::string> Split(std::string_view list) {
  std::vector<std::string> parts;
  while (true) {
    const size_t comma = list.find(',');
    parts.emplace_back(list.substr(0, comma));
    if (comma == std::string_view::npos) return parts;
    list.remove_prefix(comma + 1);
  }
}

bool IsPort(const std::string& text) {
  return !text.empty() && text.size() <= 5 &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// A folder of Unix sockets, or an abstract socket.
bool IsUnix(const std::string& host) {
  return host.front() == '/' || host.front() == '@';
}

}  // namespace

StatusOr<PinnedHosts> PinHosts(const std::string& host, const std::string& port,
                               const http::OutboundGuard& guard) {
  const std::vector<std::string> hosts = Split(host);
  const std::vector<std::string> ports = Split(port);
  if (ports.size() != 1 && ports.size() != hosts.size()) {
    return Error(StatusCode::kInvalidArgument, "`host` names {} hosts and `port` {} ports",
                 hosts.size(), ports.size());
  }
  PinnedHosts pinned;
  const auto add = [&](const std::string& name, const std::string& address, size_t index) {
    const char* const between = pinned.ports.empty() ? "" : ",";
    pinned.hosts.append(between).append(name);
    pinned.addresses.append(between).append(address);
    pinned.ports.append(between).append(ports.size() == 1 ? ports[0] : ports[index]);
  };
  for (const std::string& each : ports) {
    if (!IsPort(each)) {
      return Error(StatusCode::kInvalidArgument, "`port`: \"{}\" is not a port", each);
    }
  }
  for (size_t i = 0; i < hosts.size(); ++i) {
    // libpq would take an empty one for the machine's own Unix socket.
    if (hosts[i].empty() || hosts[i].find('\0') != std::string::npos) {
      return MakeStatus(StatusCode::kInvalidArgument, "`host` holds an empty name or a NUL");
    }
    if (IsUnix(hosts[i])) {
      if (!guard.AllowsUnix(hosts[i])) {
        return MakeStatus(StatusCode::kFailedPrecondition, http::OutboundGuard::Refusal(hosts[i]));
      }
      add(hosts[i], "", i);
      continue;
    }
    MR_ASSIGN_OR_RETURN(const auto addresses, http::GuardedAddresses(guard, hosts[i]));
    for (const std::string& address : addresses) add(hosts[i], address, i);
  }
  return pinned;
}

}  // namespace millrace::warehouses::postgres
