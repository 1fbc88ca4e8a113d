#pragma once

#include <string_view>

/// JavaScript of ours, built into the binary from js/ (CMakeLists.txt).
namespace millrace::transformation::embedded {

extern const std::string_view kAdapter;
extern const std::string_view kHash;
extern const std::string_view kUrlParser;

}  // namespace millrace::transformation::embedded
