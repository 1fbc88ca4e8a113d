#include "libs/transformation/libraries.h"

#include <algorithm>
#include <optional>

#include "libs/transformation/builtin_libraries.h"

namespace millrace::transformation {
namespace {

using config::v1::LibraryPin;
using config::v1::LibraryVersion;
using config::v1::Workspace;
using Pins = google::protobuf::RepeatedPtrField<LibraryPin>;

class Resolver {
 public:
  Resolver(const Pins& pins, const Workspace& workspace) : pins_(pins), workspace_(workspace) {}

  SourceGraph Run(std::string_view name, const std::string& code) {
    graph_.entry = {std::string(name), code, ScanJavaScript(code)};
    path_.emplace_back(name);
    Follow(graph_.entry);
    return std::move(graph_);
  }

 private:
  void Follow(const SourceModule& module) {
    for (const ImportStatement& import : module.scan.imports) {
      if (graph_.faults.size() >= kMostFaults) return;
      const std::string& name = import.specifier;
      const auto on_path = std::find(path_.begin(), path_.end(), name);
      if (on_path != path_.end()) {
        std::string cycle;
        for (auto one = on_path; one != path_.end(); ++one) cycle += *one + " -> ";
        graph_.faults.push_back({module.name, "libraries import each other: " + cycle + name,
                                 import.line, import.column});
        continue;
      }
      if (graph_.libraries.count(name) > 0) continue;
      const std::optional<std::string> code = Find(name, module.name, import);
      if (!code.has_value()) continue;
      SourceModule& library = graph_.libraries[name];
      library = {name, *code, ScanJavaScript(*code)};
      path_.push_back(name);
      Follow(library);
      path_.pop_back();
    }
  }

  std::optional<std::string> Find(const std::string& name, const std::string& where,
                                  const ImportStatement& import) {
    const auto fault = [&](std::string message) {
      graph_.faults.push_back({where, std::move(message), import.line, import.column});
      return std::nullopt;
    };
    for (const LibraryPin& pin : pins_) {
      if (pin.import_name() != name || pin.library_version_id().empty()) continue;
      for (const LibraryVersion& version : workspace_.library_versions()) {
        if (version.id() == pin.library_version_id()) return version.code();
      }
      return fault(
          fmt::format("import from {} failed. Module not found. It is pinned to version {}, "
                      "which the workspace does not have",
                      name, pin.library_version_id()));
    }
    std::string known;
    for (const LibraryVersion& version : workspace_.library_versions()) {
      if (!version.published()) continue;
      if (version.import_name() == name) return version.code();
      known += (known.empty() ? "" : ", ") + version.import_name();
    }
    if (const std::optional<std::string_view> ours = BuiltinLibrary(name))
      return std::string(*ours);
    return fault(fmt::format(
        "import from {} failed. Module not found. {}", name,
        known.empty() ? "The workspace has no libraries" : "The workspace has: " + known));
  }

  const Pins& pins_;
  const Workspace& workspace_;
  SourceGraph graph_;
  std::vector<std::string> path_;
};

}  // namespace

SourceGraph ResolveImports(std::string_view name, const std::string& code, const Pins& pins,
                           const Workspace& workspace) {
  return Resolver(pins, workspace).Run(name, code);
}

std::string Describe(const CodeFault& fault) {
  std::string place = fault.where;
  if (fault.line > 0) place += fmt::format(":{}", fault.line);
  if (fault.line > 0 && fault.column > 0) place += fmt::format(":{}", fault.column);
  return place + ": " + fault.message;
}

std::string Describe(const std::vector<CodeFault>& faults) {
  std::string text;
  for (const CodeFault& fault : faults) text += (text.empty() ? "" : "\n") + Describe(fault);
  return text;
}

}  // namespace millrace::transformation
