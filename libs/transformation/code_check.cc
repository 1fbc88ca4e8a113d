#include "libs/transformation/code_check.h"

#include <algorithm>
#include <charconv>

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

void GraphCheck::AddNames(const SourceModule& module, std::set<const SourceModule*>* seen,
                          std::set<std::string>* names) const {
  const auto own = exports_.find(&module);
  if (own == exports_.end() || !seen->insert(&module).second) return;
  names->insert(own->second.begin(), own->second.end());
  for (const ImportStatement& import : module.scan.imports) {
    const auto library = graph_.libraries.find(import.specifier);
    if (import.all_exported && library != graph_.libraries.end()) {
      std::set<std::string> more;
      AddNames(library->second, seen, &more);
      more.erase("default");  // `export *` leaves it out
      names->merge(more);
    }
  }
}

void GraphCheck::CheckNames(const SourceModule& module) {
  for (const ImportStatement& import : module.scan.imports) {
    const auto library = graph_.libraries.find(import.specifier);
    if (library == graph_.libraries.end()) continue;
    for (const ImportedName& name : import.names) {
      std::set<const SourceModule*> seen;
      if (Exports(library->second, name.name, &seen)) continue;
      if (faults_.size() >= kMostFaults) return;
      seen.clear();
      std::set<std::string> names;
      AddNames(library->second, &seen, &names);
      const std::string known = fmt::format("{}", fmt::join(names, ", "));
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

namespace {

/// Takes `mark` and the number after it off the end of `text`.
bool TakeNumber(std::string_view mark, std::string_view* text, int* number) {
  const size_t at = text->rfind(mark);
  if (at == std::string_view::npos) return false;
  const std::string_view digits = text->substr(at + mark.size());
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), *number);
  if (error != std::errc() || end != digits.data() + digits.size()) return false;
  *text = text->substr(0, at);
  return true;
}

}  // namespace

CodeFault LoadFault(std::string_view message) {
  std::string_view text = message.substr(0, message.find('\n'));
  CodeFault fault{kEntryName, std::string(text), 0, 0};
  const size_t colon = text.find(": ");
  if (colon == std::string_view::npos) return fault;
  std::string_view where = text.substr(0, colon);
  constexpr std::string_view kLibrary = "library ";
  if (where.substr(0, kLibrary.size()) == kLibrary) where.remove_prefix(kLibrary.size());
  if (where.empty() || where.find(' ') != std::string_view::npos) return fault;
  text.remove_prefix(colon + 2);
  std::string_view rest = text;
  if (!rest.empty() && rest.back() == ')') {
    rest.remove_suffix(1);
    if (TakeNumber(", column ", &rest, &fault.column) &&
        TakeNumber(" (line ", &rest, &fault.line)) {
      text = rest;
    } else {
      fault.line = fault.column = 0;
    }
  }
  fault.where = where;
  fault.message = text;
  return fault;
}

CodeFault EntryPointFault(EntryPoint entry_point) {
  if (entry_point == EntryPoint::kTwo) {
    return {kEntryName, "transformEvent and transformBatch are both exported: keep one", 0, 0};
  }
  if (entry_point == EntryPoint::kNone) {
    return {kEntryName,
            "nothing is exported that could be called: write 'export function "
            "transformEvent(event, metadata)', or transformBatch(events, metadata)",
            0, 0};
  }
  return {};
}

}  // namespace millrace::transformation
