#pragma once

#include <set>
#include <string>
#include <vector>

#include "libs/script/worker_pool.h"
#include "libs/transformation/libraries.h"

namespace millrace::transformation {

/// How a version's code is called.
enum class EntryPoint : uint8_t {
  kEvent,   // transformEvent
  kBatch,   // transformBatch
  kLegacy,  // transform, which the module does not export: RudderStack's first contract
  kNone,
  kTwo,
};

/// What the modules of a graph export and what is wrong with them.
class GraphCheck {
 public:
  /// Waits for `pool`, once for each module.
  GraphCheck(const SourceGraph& graph, script::WorkerPool& pool);

  /// Not OK when the pool could not answer.
  const Status& status() const { return status_; }
  EntryPoint entry_point() const;
  /// Whether the version's own code compiles; else its exports are not known.
  bool entry_compiles() const { return exports_.count(&graph_.entry) > 0; }
  /// Syntax, imports that lead nowhere, names that are not exported, cycles; in the order of the
  /// modules.
  const std::vector<CodeFault>& faults() const { return faults_; }

 private:
  void Inspect(const SourceModule& module, script::WorkerPool& pool);
  bool Exports(const SourceModule& module, const std::string& name,
               std::set<const SourceModule*>* seen) const;
  /// All that `module` exports, also by `export *`.
  void AddNames(const SourceModule& module, std::set<const SourceModule*>* seen,
                std::set<std::string>* names) const;
  void CheckNames(const SourceModule& module);

  const SourceGraph& graph_;
  Status status_;
  std::map<const SourceModule*, std::set<std::string>> exports_;  // of those that compile
  std::vector<CodeFault> faults_;
};

/// The fault that script::WorkerPool::Load tells as "name: message (line 1, column 2)\n<stack>".
CodeFault LoadFault(std::string_view message);

/// What is wrong with how the entry points are exported; empty message: nothing.
CodeFault EntryPointFault(EntryPoint entry_point);

}  // namespace millrace::transformation
