#pragma once

#include <string_view>
#include <vector>

namespace millrace::destination {

struct EmbeddedType {
  std::string_view definition_json;
  std::string_view mapping_source;  // empty for warehouses
};

/// What CMake found in libs/destinations and libs/warehouses; the source is generated.
std::vector<EmbeddedType> EmbeddedTypes();

}  // namespace millrace::destination
