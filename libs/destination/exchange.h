#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

/// What is sent to a destination and what comes back, whatever carries it.
namespace millrace::destination {

using Headers = std::vector<std::pair<std::string, std::string>>;

/// One request, ready to be sent.
struct Prepared {
  std::string method = "POST";
  std::string url;
  Headers headers;
  std::string body;
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds timeout{30'000};
};

/// `network_error` is empty when an answer came. Its class is one of dns, connect, tls, timeout,
/// refused_address (the outbound guard), protocol, reset.
struct Answer {
  int status = 0;
  Headers headers;   // names in lower case
  std::string body;  // may be cut
  std::string network_error;
  std::string error_class;
};

}  // namespace millrace::destination
