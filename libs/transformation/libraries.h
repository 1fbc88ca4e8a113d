#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "libs/transformation/js_scanner.h"
#include "libs/transformation/transformer.h"

namespace millrace::transformation {

/// One module of a version: its own code or a library.
struct SourceModule {
  std::string name;  // as in CodeFault::where
  std::string code;
  Scan scan;
};

/// The code of a version with all libraries it reaches.
struct SourceGraph {
  SourceModule entry;
  std::map<std::string, SourceModule> libraries;  // by import name
  std::vector<CodeFault> faults;                  // imports and pins that lead nowhere, cycles
};

/// Faults that are told of one version at most.
inline constexpr size_t kMostFaults = 100;

/// CodeFault::where of the version's own code, and its name in stacks.
inline constexpr char kEntryName[] = "transformation";

/// Follows the imports of `code`. A name that `pins` has is that version; another is the published
/// one of the workspace, or one of ours (builtin_libraries.h).
SourceGraph ResolveImports(std::string_view name, const std::string& code,
                           const google::protobuf::RepeatedPtrField<config::v1::LibraryPin>& pins,
                           const config::v1::Workspace& workspace);

/// "where:line:column: message", as far as it is known.
std::string Describe(const CodeFault& fault);

/// One of Describe a line.
std::string Describe(const std::vector<CodeFault>& faults);

}  // namespace millrace::transformation
