#include "libs/transformation/builtin_libraries.h"

#include "libs/transformation/embedded.h"

namespace millrace::transformation {

std::optional<std::string_view> BuiltinLibrary(std::string_view name) {
  if (name == "@rs/hash/v1") return embedded::kHash;
  if (name == "@rs/urlParser/v1") return embedded::kUrlParser;
  return std::nullopt;
}

}  // namespace millrace::transformation
