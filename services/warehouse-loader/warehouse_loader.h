#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/config/config_source.h"
#include "libs/destination/config.h"
#include "libs/event_log/event_log.h"
#include "libs/telemetry/metrics.h"
#include "libs/warehouse/session.h"
#include "millrace/settings/v1/warehouse_loader.pb.h"

namespace millrace::warehouse_loader {

/// All outlive the loader.
struct Deps {
  event_log::EventLog& log;
  Clock& clock;
  telemetry::Metrics& metrics;
  config::ConfigSource& workspace;
  /// The kinds of warehouses, e.g. warehouses::All().
  const std::vector<std::unique_ptr<warehouse::Warehouse>>& warehouses;
  /// Reads a configuration by the definition of its type, e.g. destination::ConfigsOf(catalogue).
  std::function<StatusOr<destination::Config>(const config::v1::Destination&)> read_config;
  std::string instance = "warehouse-loader-0";  // unique among loaders, stable over restarts
};

class DestinationWorker;

/// Loads the events of every enabled warehouse destination into its tables, exactly once: rows and
/// the position in the log are one transaction of the warehouse. One thread a destination, so that
/// one that is down, or hangs, holds up no other, no change of configuration, and no end. A paused
/// or disabled destination has none: its events wait in the log.
///
/// Owned by main. Thread-safety: Start and Stop from one thread, Stop once. What was not committed
/// is read again by the next loader.
class WarehouseLoader {
 public:
  /// kInvalidArgument names the setting that is wrong.
  static StatusOr<std::unique_ptr<WarehouseLoader>> Create(
      const settings::v1::WarehouseLoaderSettings& settings, Deps deps);
  ~WarehouseLoader();
  WarehouseLoader(const WarehouseLoader&) = delete;
  WarehouseLoader& operator=(const WarehouseLoader&) = delete;

  Status Start();
  /// Loads what has been read, if `deadline` allows, and stops: what has not ended then is
  /// cancelled.
  void Stop(std::chrono::milliseconds deadline);

 private:
  WarehouseLoader(const settings::v1::WarehouseLoaderSettings& settings, Deps deps);
  struct Want {
    std::string key;
    const config::v1::Destination* destination = nullptr;
  };
  using Wanted = std::map<std::string, Want>;  // by destination
  struct Slot {
    std::string key;  // of the configuration that it works by
    std::unique_ptr<DestinationWorker> worker;
    bool ending = false;
    MonotonicTime asked_at;  // to end
  };

  void Run();
  bool Reconcile(const config::v1::Workspace& workspace);
  bool EndUnwanted(const Wanted& wanted);
  const warehouse::Warehouse* Find(std::string_view type) const;

  const settings::v1::WarehouseLoaderSettings settings_;
  const Deps deps_;
  std::map<std::string, Slot> workers_;  // by destination; of the thread, then of Stop
  std::map<std::string, std::string>
      refused_;  // configurations that cannot be read, by destination
  std::thread thread_;
  std::shared_ptr<void> subscription_;
  Mutex mu_;
  std::condition_variable changed_;
  config::WorkspacePtr wanted_ ABSL_GUARDED_BY(mu_);
  bool ended_ ABSL_GUARDED_BY(mu_) = false;  // a worker
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ = false;
};

}  // namespace millrace::warehouse_loader
