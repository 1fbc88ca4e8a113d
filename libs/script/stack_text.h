#pragma once

#include <string>
#include <string_view>

namespace millrace::script {

/// `stack`, lines of "    at function (name:line:column)", without the frames of adapter and
/// prelude.
std::string UsersStack(std::string_view stack);

struct SourcePlace {
  std::string name;
  int line = 0;  // 0: not known
  int column = 0;
};

/// The place that the first line with one names.
SourcePlace FirstPlace(std::string_view stack);

/// Where `source` imports `name`, all of it or of it the export `binding` (empty: any).
SourcePlace PlaceOfImport(std::string_view source, std::string_view name, std::string_view binding);

}  // namespace millrace::script
