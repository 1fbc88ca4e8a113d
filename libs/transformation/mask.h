#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace millrace::transformation {

/// Writes *** over secrets. Immutable; any thread.
class Mask {
 public:
  /// Secrets of fewer than four bytes are left: they would be found everywhere.
  explicit Mask(const std::vector<std::string>& secrets);

  /// `text` without the secrets, also where they are written as in JSON or in a URL.
  std::string Apply(std::string text) const;

 private:
  std::vector<std::string> forms_;  // the longest first
};

}  // namespace millrace::transformation
