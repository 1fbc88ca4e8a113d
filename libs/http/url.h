#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace::http {

/// A URL as Client reads it: the same parser, so that what is judged is what is connected to.
struct Url {
  std::string
      text;  // whole and normalised: numeric hosts as a.b.c.d, a path, what must be %-escaped is
  std::string scheme;  // lower case
  std::string host;    // lower case, as name servers know it; IPv6 without its brackets
  uint16_t port = 0;
  bool literal = false;  // the host is an address, not a name

  std::string Origin() const;
};

/// False when `text` is no absolute URL of any scheme. Spaces around it do not count.
bool ParseUrl(std::string_view text, Url* url);

/// `reference` (of a Location header) as seen from `base`. False when nothing comes of it.
bool ResolveUrl(const Url& base, std::string_view reference, Url* url);

}  // namespace millrace::http
