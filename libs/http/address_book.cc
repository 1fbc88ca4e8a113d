#include "libs/http/address_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace millrace::http {

std::vector<std::string> AddressBook::Tell(const std::string& host, uint16_t port,
                                           const Resolver::Answer& answer) {
  Told& told = told_[host];
  const bool same = told.version == answer.version;
  if (same && std::ranges::find(told.ports, port) != told.ports.end()) return {};
  std::vector<std::string> lines = std::exchange(forget_, {});
  std::string addresses;
  for (const std::string& address : answer.addresses) {
    addresses += addresses.empty() ? "" : ",";
    addresses += address.find(':') == std::string::npos ? address : "[" + address + "]";
  }
  if (std::ranges::find(told.ports, port) == told.ports.end()) told.ports.push_back(port);
  told.version = answer.version;
  for (const uint16_t each : told.ports) {
    lines.push_back(fmt::format("{}:{}:{}", host, each, addresses));
  }
  return lines;
}

void AddressBook::Forget(const std::string& host) {
  const auto found = told_.find(host);
  if (found == told_.end()) return;
  for (const uint16_t port : found->second.ports) {
    forget_.push_back(fmt::format("-{}:{}", host, port));
  }
  told_.erase(found);
}

}  // namespace millrace::http
