#include "libs/transformation/factory.h"

#include <nlohmann/json.hpp>

#include <map>
#include <utility>

#include "libs/base/hash.h"
#include "libs/base/mutex.h"
#include "libs/transformation/code_check.h"
#include "libs/transformation/embedded.h"
#include "libs/transformation/libraries.h"
#include "libs/transformation/rules.h"
#include "libs/transformation/script_transformer.h"

namespace millrace::transformation {
namespace {

using config::v1::LibraryVersion;
using config::v1::TransformationVersion;
using config::v1::Workspace;
using Json = nlohmann::json;

constexpr uint64_t kDefaultMemoryBytes = 64 << 20;
constexpr uint32_t kDefaultCpuMs = 1'000;
constexpr uint32_t kDefaultFetches = 10;

bool UsesStore(const SourceGraph& graph) {
  bool uses = graph.entry.scan.uses_store;
  for (const auto& [name, library] : graph.libraries) uses |= library.scan.uses_store;
  return uses;
}

/// What the adapter finds in host.config.
std::string AdapterConfig(const TransformationVersion& version, const Workspace& workspace) {
  Json credentials = Json::object();
  for (const auto& credential : workspace.credentials()) {
    credentials[credential.key()] = credential.value();
  }
  const Json config = {{"credentials", std::move(credentials)},
                       {"metadata",
                        {{"transformationId", version.transformation_id()},
                         {"transformationVersionId", version.id()}}}};
  return config.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// The same for all that makes no difference to what runs.
std::string Fingerprint(const TransformationVersion& version, const Workspace& workspace,
                        const SourceGraph& graph) {
  std::string text;
  const auto add = [&text](std::string_view part) {
    text += fmt::format("{}:{};", part.size(), part);
  };
  add(workspace.id());
  add(version.code());
  add(AdapterConfig(version, workspace));
  for (const auto& credential : workspace.credentials()) add(credential.secret() ? "secret" : "");
  for (const auto& [name, library] : graph.libraries) {
    add(name);
    add(library.code);
  }
  const auto& limits = version.limits();
  text += fmt::format("{} {} {}", limits.memory_bytes(), limits.cpu_ms(), limits.fetches());
  return Sha256Hex(text);
}

class Factory final : public TransformerFactory {
 public:
  explicit Factory(const TransformerFactoryOptions& options) : options_(options) {}

  StatusOr<std::shared_ptr<Transformer>> Make(const TransformationVersion& version,
                                              const Workspace& workspace) override {
    if (version.kind() == config::v1::RULES) return MakeRules(version, workspace);
    const SourceGraph graph =
        ResolveImports(kEntryName, version.code(), version.libraries(), workspace);
    const std::string key = Fingerprint(version, workspace, graph);
    if (auto kept = Find(key)) return kept;
    const GraphCheck check(graph, *options_.pool);
    MR_RETURN_IF_ERROR(check.status());
    if (!check.faults().empty()) {
      return MakeStatus(StatusCode::kInvalidArgument, Describe(check.faults()));
    }
    const CodeFault entry = EntryPointFault(check.entry_point());
    if (!entry.message.empty()) return MakeStatus(StatusCode::kInvalidArgument, Describe(entry));
    ScriptVersion made = Prepare(version, workspace, graph, check.entry_point());
    const Status loaded = Load(made);
    if (loaded.code() == StatusCode::kInvalidArgument) {
      return MakeStatus(loaded.code(), Describe(LoadFault(Message(loaded))));
    }
    MR_RETURN_IF_ERROR(loaded);
    return Keep(key, MakeScriptTransformer(std::move(made), options_));
  }

  std::vector<CodeFault> Check(const TransformationVersion& version,
                               const Workspace& workspace) override {
    if (version.kind() == config::v1::RULES) return RulesTransformer::Check(version, workspace);
    const SourceGraph graph =
        ResolveImports(kEntryName, version.code(), version.libraries(), workspace);
    const GraphCheck check(graph, *options_.pool);
    std::vector<CodeFault> faults = FaultsOf(check);
    const CodeFault entry = EntryPointFault(check.entry_point());
    if (check.entry_compiles() && !entry.message.empty()) faults.push_back(entry);
    if (!faults.empty()) return faults;
    // What only shows when the code runs: a library that throws while it loads.
    const Status loaded = Load(Prepare(version, workspace, graph, check.entry_point()));
    if (!loaded.ok()) faults.push_back(LoadFault(Message(loaded)));
    return faults;
  }

  std::vector<CodeFault> CheckLibrary(const LibraryVersion& version,
                                      const Workspace& workspace) override {
    return FaultsOf(GraphCheck(ResolveImports(version.import_name(), version.code(), {}, workspace),
                               *options_.pool));
  }

 private:
  StatusOr<std::shared_ptr<Transformer>> MakeRules(const TransformationVersion& version,
                                                   const Workspace& workspace) {
    const std::string key = "rules " + version.id() + " " + Fingerprint(version, workspace, {});
    if (auto kept = Find(key)) return kept;
    MR_ASSIGN_OR_RETURN(auto transformer, RulesTransformer::Compile(version, workspace));
    return Keep(key, std::move(transformer));
  }

  /// What the code throws while it loads may hold secrets.
  Status Load(const ScriptVersion& made) {
    const Status loaded = options_.pool->Load(made.module);
    return loaded.ok() ? loaded
                       : MakeStatus(loaded.code(), made.mask.Apply(std::string(Message(loaded))));
  }

  static std::vector<CodeFault> FaultsOf(const GraphCheck& check) {
    if (check.status().ok()) return check.faults();
    return {{kEntryName, fmt::format("could not be checked: {}", Message(check.status())), 0, 0}};
  }

  static ScriptVersion Prepare(const TransformationVersion& version, const Workspace& workspace,
                               const SourceGraph& graph, EntryPoint entry_point) {
    script::Module module{.id = kEntryName, .source = version.code()};
    // A script of RudderStack's first contract, as a module, must export its function.
    if (entry_point == EntryPoint::kLegacy) module.source += "\nexport {transform};";
    module.adapter = embedded::kAdapter;
    module.config_json = AdapterConfig(version, workspace);
    for (const auto& [name, library] : graph.libraries) {
      module.libraries.emplace_back(name, library.code);
    }
    const auto& limits = version.limits();
    module.limits.memory_bytes =
        limits.memory_bytes() != 0 ? limits.memory_bytes() : kDefaultMemoryBytes;
    module.limits.cpu_time =
        std::chrono::milliseconds(limits.cpu_ms() != 0 ? limits.cpu_ms() : kDefaultCpuMs);
    ScriptVersion made;
    made.id = version.id();
    made.stateful = UsesStore(graph);
    made.batch = entry_point != EntryPoint::kEvent;
    made.fetches = limits.fetches() != 0 ? limits.fetches() : kDefaultFetches;
    made.workspace_id = workspace.id();
    std::vector<std::string> values;
    for (const auto& credential : workspace.credentials()) {
      if (credential.secret()) values.push_back(credential.value());
    }
    made.mask = secrets::Mask(values);
    module.sequential = made.stateful;
    module.version = version.id();
    made.module = std::make_shared<const script::Module>(std::move(module));
    return made;
  }

  std::shared_ptr<Transformer> Find(const std::string& key) {
    MutexLock lock(mu_);
    const auto found = made_.find(key);
    return found == made_.end() ? nullptr : found->second.lock();
  }

  /// The transformer that is kept under `key`: `fresh`, unless another thread was faster.
  std::shared_ptr<Transformer> Keep(const std::string& key, std::shared_ptr<Transformer> fresh) {
    MutexLock lock(mu_);
    for (auto one = made_.begin(); one != made_.end();) {
      one = one->second.expired() ? made_.erase(one) : std::next(one);
    }
    std::weak_ptr<Transformer>& kept = made_[key];
    if (auto other = kept.lock()) return other;
    kept = fresh;
    return fresh;
  }

  const TransformerFactoryOptions options_;
  Mutex mu_;
  std::map<std::string, std::weak_ptr<Transformer>> made_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

std::unique_ptr<TransformerFactory> MakeTransformerFactory(
    const TransformerFactoryOptions& options) {
  MR_CHECK(options.pool != nullptr);
  return std::make_unique<Factory>(options);
}

}  // namespace millrace::transformation
