#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "libs/base/clock.h"
#include "libs/config/config_source.h"
#include "libs/event_log/event_log.h"
#include "libs/http/server.h"
#include "millrace/settings/v1/control_plane.pb.h"
#include "services/control-plane/script_draft.h"
#include "services/control-plane/topic_keeper.h"
#include "services/control-plane/workspace_document.h"

namespace millrace::control_plane {

struct Deps {
  event_log::EventLog& log;
  Clock& clock;
  DestinationHooks destinations;
  /// Checks of transformations; empty: this process runs none.
  TransformerProvider transformers = {};
  /// Test runs, which may take all the time that their limits allow; empty: as `transformers`.
  TransformerProvider test_transformers = {};
  /// Of each topic of a destination.
  int destination_partitions = 1;
  TopicKeeperOptions topics = {};
};

/// The one owner of configuration: the workspace, the versions of transformations, the REST API,
/// the sums of what became of events, the dead letters. Owned by main; thread-safe once started.
class ControlPlane {
 public:
  /// Opens the store, makes the API token at the first start. kFailedPrecondition: the folder
  /// cannot be used, or a newer version made it.
  static StatusOr<std::unique_ptr<ControlPlane>> Create(
      const settings::v1::ControlPlaneSettings& settings, Deps deps);
  virtual ~ControlPlane() = default;

  virtual Status Start() = 0;
  virtual void Stop() = 0;
  /// The workspace, for the services of the same process.
  virtual config::ConfigSource& config() = 0;
  /// Of configuration and transformations over gRPC; 0 when it is not served.
  virtual int grpc_port() const = 0;
  /// Requests below /api/. Answers from a thread of its own.
  virtual void Handle(http::Request request, http::Responder responder) = 0;
};

}  // namespace millrace::control_plane
