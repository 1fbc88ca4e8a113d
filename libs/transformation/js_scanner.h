#pragma once

#include <string>
#include <string_view>
#include <vector>

/// Reads as much of JavaScript as is needed to say where its imports stand. Never fails: what is no
/// JavaScript gives fewer tokens, and the engine says why. All functions are pure.
namespace millrace::transformation {

/// Lines and columns count from 1.
struct ImportedName {
  std::string name;  // "default" of a default import
  int line = 0;
  int column = 0;
};

/// `import ... from 'specifier'`, `export ... from 'specifier'`, `import('specifier')`.
struct ImportStatement {
  std::string specifier;
  int line = 0;  // of the specifier
  int column = 0;
  std::vector<ImportedName> names;
  bool all_exported = false;  // export * from
};

struct Scan {
  std::vector<ImportStatement> imports;
  bool exports_something = false;
  bool uses_store = false;         // the free identifier `store` is mentioned
  bool defines_transform = false;  // a function `transform` at the top
};

Scan ScanJavaScript(std::string_view source);

}  // namespace millrace::transformation
