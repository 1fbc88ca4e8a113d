#include "libs/transformation/code_check.h"

#include <algorithm>
#include <charconv>
#include <regex>

namespace millrace::transformation {

GraphCheck::GraphCheck(const SourceGraph& graph, script::WorkerPool& pool) : graph_(graph) {
  Inspect(graph.entry, pool);
  for (const auto& [name, library] : graph.libraries) Inspect(library, pool);
  faults_.insert(faults_.end(), graph.faults.begin(), graph.faults.end());
  CheckNames(graph.entry);
  for (const auto& [name, library] : graph.libraries) CheckNames(library);
}

void GraphCheck::Inspect(const SourceModule& module, script::WorkerPool& pool) {
  script::SourceFault fault;
  const StatusOr<script::Inspection> inspected = pool.Inspect(module.name, module.code, &fault);
  if (inspected.ok()) {
    exports_[&module] = {inspected->exports.begin(), inspected->exports.end()};
  } else if (inspected.status().code() == StatusCode::kInvalidArgument) {
    std::string message = fault.message;
    if (message.empty()) message = Message(inspected.status());
    faults_.push_back({module.name, std::move(message), fault.line, fault.column});
  } else if (status_.ok()) {
    status_ = inspected.status();
  }
}

bool GraphCheck::Exports(const SourceModule& module, const std::string& name,
                         std::set<const SourceModule*>* seen) const {
  const auto own = exports_.find(&module);
  // What does not compile has a fault already.
  if (own == exports_.end() || own->second.count(name) > 0) return true;
  if (!seen->insert(&module).second || name == "default") return false;
  return std::any_of(
      module.scan.imports.begin(), module.scan.imports.end(), [&](const auto& import) {
        if (!import.all_exported) return false;
        const auto library = graph_.libraries.find(import.specifier);
        return library == graph_.libraries.end() || Exports(library->second, name, seen);
      });
}

void GraphCheck::CheckNames(const SourceModule& module) {
  for (const ImportStatement& import : module.scan.imports) {
    const auto library = graph_.libraries.find(import.specifier);
    if (library == graph_.libraries.end()) continue;
    for (const ImportedName& name : import.names) {
      std::set<const SourceModule*> seen;
      if (Exports(library->second, name.name, &seen)) continue;
      if (faults_.size() >= kMostFaults) return;
      std::string known;
      for (const std::string& one : exports_.at(&library->second)) {
        known += (known.empty() ? "" : ", ") + one;
      }
      faults_.push_back(
          {module.name,
           fmt::format("library {} has no export '{}'; it exports {}", import.specifier, name.name,
                       known.empty() ? "nothing" : known),
           name.line, name.column});
    }
  }
}

EntryPoint GraphCheck::entry_point() const {
  std::set<const SourceModule*> seen_event;
  std::set<const SourceModule*> seen_batch;
  const bool event = Exports(graph_.entry, "transformEvent", &seen_event);
  const bool batch = Exports(graph_.entry, "transformBatch", &seen_batch);
  if (event && batch) return EntryPoint::kTwo;
  if (event) return EntryPoint::kEvent;
  if (batch) return EntryPoint::kBatch;
  std::set<const SourceModule*> seen_legacy;
  if (Exports(graph_.entry, "transform", &seen_legacy)) return EntryPoint::kBatch;
  if (graph_.entry.scan.defines_transform) return EntryPoint::kLegacy;
  return EntryPoint::kNone;
}

CodeFault LoadFault(std::string_view message) {
  static const std::regex kForm(
      "^(?:library )?([^\\s:]+): (.*?)(?: \\(line (\\d+), column (\\d+)\\))?$");
  const std::string first(message.substr(0, message.find('\n')));
  std::smatch parts;
  constexpr size_t kLongest = 1'000;  // what is thrown may have any length
  if (first.size() > kLongest || !std::regex_match(first, parts, kForm))
    return {kEntryName, first, 0, 0};
  CodeFault fault{parts[1], parts[2], 0, 0};
  if (parts[3].matched) {
    std::from_chars(first.data() + parts.position(3), first.data() + first.size(), fault.line);
    std::from_chars(first.data() + parts.position(4), first.data() + first.size(), fault.column);
  }
  return fault;
}

CodeFault EntryPointFault(EntryPoint entry_point) {
  if (entry_point == EntryPoint::kTwo) {
    return {kEntryName,
            "Expected one of transformEvent,transformBatch. Found transformEvent,transformBatch: "
            "export "
            "only one",
            0, 0};
  }
  if (entry_point == EntryPoint::kNone) {
    return {kEntryName,
            "Expected one of transformEvent,transformBatch. Found none: export a function "
            "transformEvent(event, metadata) or transformBatch(events, metadata)",
            0, 0};
  }
  return {};
}

}  // namespace millrace::transformation
