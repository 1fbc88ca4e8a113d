#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::destination {

/// What of a request belongs to configured origins only. A value of one thread.
struct Credentials {
  bool given = false;
  std::vector<std::string> origins;  // https://host[:port], https://*.host, or a URL for its own
  std::vector<std::pair<std::string, std::string>> headers;
  std::string query;    // encoded
  bool in_url = false;  // the URL's user and password are configured too
};

/// Whether `url` has one of the origins: scheme, host and port, as the HTTP client reads them.
bool HasOrigin(std::string_view url, const std::vector<std::string>& origins);

/// Takes the user and password out of a URL.
void RemoveUser(std::string* url);

/// Whether the part of a URL that names the server is written so that every reader finds the same
/// server in it.
bool HasPlainAuthority(std::string_view url);

}  // namespace millrace::destination
