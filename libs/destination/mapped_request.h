#pragma once

#include <simdjson.h>

#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "libs/destination/exchange.h"

namespace millrace::destination {

/// Turns what a mapping returned into requests. One thread.
class RequestDecoder {
 public:
  /// `output` is one request object or an array of them:
  ///   {method, url, headers: {name: value}, query: {name: value}, json | form | body, credentials}
  /// `json` is any value, `form` an object, `body` a text or context.raw, which stands for `event`.
  /// `credentials`, {origins: [text], headers, query, in_url}, is for where an event or its
  /// transformations choose the URL: its headers and query go along only when the URL has one of
  /// the origins (https://host[:port], https://*.host, or a URL for its own); else they are left
  /// out, and with `in_url` the URL's user and password too. kInvalidArgument says what is wrong
  /// with it. `output` may grow for the parser.
  Status Decode(std::string* output, std::string_view event, std::vector<Prepared>* requests);

 private:
  simdjson::ondemand::parser parser_;
};

}  // namespace millrace::destination
