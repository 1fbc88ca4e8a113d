#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "libs/base/backoff.h"
#include "libs/base/status.h"
#include "libs/config/config_source.h"
#include "libs/telemetry/metrics.h"
#include "millrace/settings/v1/common.pb.h"

namespace millrace::config {

struct WatchOptions {
  std::string address;                    // host:port of the control plane's gRPC service
  std::string token;                      // service token
  std::string cache_dir;                  // of the last snapshot
  std::string service;                    // gateway | processor | ...
  std::string instance;                   // unique among the service's instances
  telemetry::Metrics* metrics = nullptr;  // millrace_configuration_held_back; null: none
  BackoffPolicy backoff{.initial = std::chrono::milliseconds(200),
                        .maximum = std::chrono::milliseconds(10'000)};
};

/// Options out of the settings; reads the token file. kInvalidArgument names the setting that is
/// missing.
StatusOr<WatchOptions> MakeWatchOptions(const settings::v1::ControlPlaneClientSettings& settings,
                                        const std::string& data_dir, const std::string& service,
                                        const std::string& instance);

/// The workspace as the control plane tells it, over gRPC; on the disk for the time when it is
/// away, also across restarts. A configuration that is no successor of the one held, as of a
/// control plane whose store was emptied or restored, is not taken unless an operator has allowed
/// it there. Owned by main, outlives its subscribers' handles' use; thread-safe.
class WatchClient : public ConfigSource {
 public:
  /// Takes the snapshot of the disk, if there is one, and begins to watch. The control plane may be
  /// away: it is tried again with growing waits for as long as it takes. kFailedPrecondition: the
  /// cache folder cannot be used.
  static StatusOr<std::unique_ptr<WatchClient>> Start(WatchOptions options);
  /// Waits for the first snapshot. kUnavailable when none came in time: the control plane is away,
  /// or refuses the token, as the message says.
  virtual Status WaitForSnapshot(std::chrono::milliseconds timeout) = 0;
  /// Why the control plane's configuration is not taken; "" while it is.
  virtual std::string HeldBack() const = 0;
};

}  // namespace millrace::config
