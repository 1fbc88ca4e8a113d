#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/config/config_source.h"
#include "libs/delivery/transport.h"
#include "libs/destination/mapper.h"
#include "libs/event_log/event_log.h"
#include "libs/pipeline/share_watch.h"
#include "libs/telemetry/metrics.h"
#include "millrace/destination/v1/definition.pb.h"
#include "millrace/settings/v1/router.pb.h"

namespace millrace::router {

/// What the router knows of destination types. Functions may be called from any thread.
struct DestinationTypes {
  /// Null when there is no such type; lives as long as the router.
  std::function<const destination::v1::Definition*(const std::string& type)> find;
  std::function<StatusOr<std::shared_ptr<destination::Mapper>>(const config::v1::Destination&)>
      make_mapper;
};

/// All outlive the router.
struct Deps {
  event_log::EventLog& log;
  Clock& clock;
  telemetry::Metrics& metrics;
  config::ConfigSource& workspace;
  DestinationTypes types;
  /// What destinations use of the log; null: nothing is given up for it.
  const pipeline::ShareWatch* shares = nullptr;
  /// One for each worker.
  std::function<StatusOr<std::unique_ptr<delivery::Transport>>()> make_transport;
  std::string instance = "router-0";  // unique among routers, stable over restarts
};

class Worker;
struct Shared;

/// Delivers the events of every HTTP destination, each user's strictly in order; retries; parks
/// users that hold up others; writes the outcome of each event, with the offsets, in one
/// transaction. Of a destination that is paused or disabled it holds the events.
///
/// Owned by main. Thread-safety: Start and Stop from one thread. Stop may be called once; the
/// destructor stops at once. What was not finished is delivered again by the next router.
class Router {
 public:
  /// kInvalidArgument names the setting that is wrong.
  static StatusOr<std::unique_ptr<Router>> Create(const settings::v1::RouterSettings& settings,
                                                  Deps deps);
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  Status Start();
  /// Reads no more, waits until `deadline` for the requests under way, commits what finished.
  void Stop(std::chrono::milliseconds deadline);

 private:
  Router(const settings::v1::RouterSettings& settings, Deps deps);
  void OnWorkspace(const config::WorkspacePtr& workspace);

  const Deps deps_;
  const std::unique_ptr<Shared> shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::shared_ptr<void> subscription_;
  bool stopped_ = false;
};

}  // namespace millrace::router
