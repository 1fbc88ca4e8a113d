#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/script/worker_pool.h"
#include "libs/transformation/factory.h"
#include "libs/transformation/fetcher.h"
#include "libs/transformation/geolocation.h"
#include "libs/transformation/transformer.h"
#include "millrace/settings/v1/transformation.pb.h"

namespace millrace::transformation {

/// The factory of a process with all it runs on. Its script workers are its own, so that no
/// transformation gets in the way of anything else, and start with the first use: a process without
/// transformations has none. Owned by main; outlives what uses its factory. Any thread.
class Runtime final : public TransformerFactory {
 public:
  /// `script_workers` 0: one. kInvalidArgument and kFailedPrecondition name the setting that is
  /// wrong.
  static StatusOr<std::unique_ptr<Runtime>> Create(
      const settings::v1::TransformationSettings& settings, uint32_t script_workers);

  /// Starts the script workers unless they run. kFailedPrecondition: they cannot start.
  StatusOr<TransformerFactory*> Started();

  StatusOr<std::shared_ptr<Transformer>> Make(const config::v1::TransformationVersion& version,
                                              const config::v1::Workspace& workspace) override;
  std::vector<CodeFault> Check(const config::v1::TransformationVersion& version,
                               const config::v1::Workspace& workspace) override;
  std::vector<CodeFault> CheckLibrary(const config::v1::LibraryVersion& version,
                                      const config::v1::Workspace& workspace) override;

 private:
  explicit Runtime(script::ScriptSettings settings) : script_settings_(settings) {}

  const script::ScriptSettings script_settings_;
  std::unique_ptr<Geolocation> geolocation_;
  std::unique_ptr<Fetcher> fetcher_;
  Mutex mu_;
  std::unique_ptr<script::WorkerPool> pool_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<TransformerFactory> factory_ ABSL_GUARDED_BY(mu_);
};

}  // namespace millrace::transformation
