#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/config/config_source.h"
#include "millrace/config/v1/config_service.pb.h"
#include "services/control-plane/store.h"

namespace grpc {
class Service;
}

namespace millrace::control_plane {

/// A service that keeps its configuration, as that of the source is no successor of it.
struct HeldBack {
  std::string service;  // and instance
  config::v1::HeldConfiguration held;
};

/// The gRPC server of config.v1.ConfigService: streams the workspace of a ConfigSource to every
/// watcher that brings the service token, first whole (unless the watcher has it), then each
/// change. A watcher that is slow gets several changes as one; one that holds a configuration which
/// the source's is no successor of gets none, so that an emptied or restored store takes nothing
/// from services that have more. Owned by the control plane; thread-safe.
class ConfigServer {
 public:
  using DescentOf = std::function<StatusOr<Descent>(const config::v1::HeldConfiguration&)>;

  /// `address` is host:port, port 0 for any free one. `source` and `other`, a further service at
  /// the same address (null: none), outlive the server. `descent` judges what watchers hold (empty:
  /// the source's is always a successor). kFailedPrecondition: the address cannot be listened on.
  static StatusOr<std::unique_ptr<ConfigServer>> Start(const std::string& address,
                                                       std::string token,
                                                       config::ConfigSource& source,
                                                       grpc::Service* other = nullptr,
                                                       DescentOf descent = nullptr);
  /// Ends all streams.
  virtual ~ConfigServer() = default;
  virtual int port() const = 0;
  /// The services that were told nothing, as they last asked.
  virtual std::vector<HeldBack> held_back() const = 0;
};

}  // namespace millrace::control_plane
