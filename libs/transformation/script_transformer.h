#pragma once

#include <memory>
#include <string>

#include "libs/script/worker_pool.h"
#include "libs/secrets/mask.h"
#include "libs/transformation/factory.h"

namespace millrace::transformation {

/// One version of JavaScript, made ready to run.
struct ScriptVersion {
  std::string id;
  std::shared_ptr<const script::Module> module;
  bool batch = false;  // transformBatch, or the legacy transform
  bool stateful = false;
  uint32_t fetches = 0;  // of one event
  std::string workspace_id;
  secrets::Mask mask;
};

std::shared_ptr<Transformer> MakeScriptTransformer(ScriptVersion version,
                                                   const TransformerFactoryOptions& options);

}  // namespace millrace::transformation
