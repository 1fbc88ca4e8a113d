#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libs/base/string_map.h"
#include "libs/http/resolver.h"

namespace millrace::http {

/// What libcurl has been told of addresses: it keeps what it is told until it is told to forget it.
/// One for each of its multi handles. One thread.
class AddressBook {
 public:
  /// The lines for CURLOPT_RESOLVE that a request to `host`:`port` must bring along; none when
  /// libcurl knows.
  std::vector<std::string> Tell(const std::string& host, uint16_t port,
                                const Resolver::Answer& answer);
  /// libcurl shall forget `host`, with the next request that brings lines along.
  void Forget(const std::string& host);
  /// What was told of `host` did not arrive.
  void Lost(const std::string& host) { told_.erase(host); }

 private:
  struct Told {
    uint64_t version = 0;
    std::vector<uint16_t> ports;
  };
  StringMap<Told> told_;
  std::vector<std::string> forget_;
};

}  // namespace millrace::http
