#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"

namespace millrace::transformation::rules {

/// A place in an event: names of members, indices of elements, or `*` for each of them.
struct Path {
  struct Part {
    std::string name;
    bool any = false;
    bool operator==(const Part&) const = default;
  };
  std::vector<Part> parts;  // never empty

  bool HasWildcard() const;
  bool operator==(const Path&) const = default;
};

/// "context.traits.email", "properties.products.*.price", `properties."a.b"`. kInvalidArgument says
/// what is wrong with it.
StatusOr<Path> ParsePath(std::string_view text);

/// Whether some place can be in, at or around both.
bool Overlap(const Path& a, const Path& b);

}  // namespace millrace::transformation::rules
