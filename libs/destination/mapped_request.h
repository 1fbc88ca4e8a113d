#pragma once

#include <simdjson.h>

#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "libs/http/client.h"

namespace millrace::destination {

/// Turns what a mapping returned into requests. One thread.
class RequestDecoder {
 public:
  /// `output` is one request object or an array of them:
  ///   {method, url, headers: {name: value}, query: {name: value}, json | form | body}
  /// `json` is any value, `form` an object, `body` a text or context.raw, which stands for `event`.
  /// kInvalidArgument says what is wrong with it. `output` may grow for the parser.
  Status Decode(std::string* output, std::string_view event,
                std::vector<http::ClientRequest>* requests);

 private:
  simdjson::ondemand::parser parser_;
};

}  // namespace millrace::destination
