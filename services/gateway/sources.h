#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/snapshot.h"
#include "libs/base/string_map.h"
#include "libs/config/config_source.h"
#include "libs/telemetry/metrics.h"

namespace millrace::gateway {

/// A source as the gateway needs it.
struct SourceEntry {
  std::string id;
  std::string name;
  std::string workspace_id;
  bool enabled = false;
  std::vector<std::string> destinations;  // ids of those it is connected to
  telemetry::Counter* accepted = nullptr;
  telemetry::Counter* rejected = nullptr;
  telemetry::Counter* repaired = nullptr;
  telemetry::Counter* bytes = nullptr;
};

/// The sources by write key, following the workspace. Thread-safe.
class Sources {
 public:
  using Map = StringMap<std::shared_ptr<const SourceEntry>>;

  Sources(config::ConfigSource& config, telemetry::Metrics& metrics);
  Sources(const Sources&) = delete;
  Sources& operator=(const Sources&) = delete;

  /// Whether a workspace has come.
  bool Ready() const;
  /// Null when there is none with this key. Lives on when the workspace changes.
  std::shared_ptr<const SourceEntry> Find(std::string_view write_key) const;

 private:
  struct State {
    bool ready = false;
    Map by_key;
  };
  void Update(const config::v1::Workspace& workspace);

  telemetry::Metrics& metrics_;
  StringSet known_;  // ids of the sources that have series; of the listener alone
  Snapshot<State> state_;
  std::shared_ptr<void> subscription_;  // last: its listener uses the rest
};

}  // namespace millrace::gateway
