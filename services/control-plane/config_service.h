#pragma once

#include <memory>
#include <string>

#include "libs/base/status.h"
#include "libs/config/config_source.h"

namespace grpc {
class Service;
}

namespace millrace::control_plane {

/// The gRPC server of config.v1.ConfigService: streams the workspace of a ConfigSource to every
/// watcher that brings the service token, first whole (unless the watcher has it), then each
/// change. A watcher that is slow gets several changes as one. Owned by the control plane;
/// thread-safe.
class ConfigServer {
 public:
  /// `address` is host:port, port 0 for any free one. `source` and `other`, a further service at
  /// the same address (null: none), outlive the server. kFailedPrecondition: the address cannot be
  /// listened on.
  static StatusOr<std::unique_ptr<ConfigServer>> Start(const std::string& address,
                                                       std::string token,
                                                       config::ConfigSource& source,
                                                       grpc::Service* other = nullptr);
  /// Ends all streams.
  virtual ~ConfigServer() = default;
  virtual int port() const = 0;
};

}  // namespace millrace::control_plane
