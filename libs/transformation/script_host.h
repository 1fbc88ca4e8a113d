#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libs/script/host.h"
#include "libs/transformation/fetcher.h"
#include "libs/transformation/geolocation.h"
#include "libs/transformation/state.h"

namespace millrace::transformation {

/// What the calls of one batch may ask for, and of whom.
struct ScriptHostOptions {
  Fetcher* fetcher = nullptr;
  Geolocation* geolocation = nullptr;
  StateScope* state = nullptr;
  bool stateful = false;          // calls run one at a time, so that `state` is theirs
  std::string workspace_id;       // whose cache of fetches it is
  std::vector<uint32_t> fetches;  // that each input may make
};

/// Answers `fetch`, `geolocation` and `store.*` for one batch of calls; the adapter (js/adapter.js)
/// asks. The pool's thread only; fetches are answered on the fetcher's.
std::shared_ptr<script::Host> MakeScriptHost(ScriptHostOptions options);

}  // namespace millrace::transformation
