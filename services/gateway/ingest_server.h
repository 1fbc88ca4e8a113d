#pragma once

#include <memory>

#include "libs/base/status.h"
#include "millrace/settings/v1/gateway.pb.h"

namespace millrace::gateway {

class Gateway;

/// The gRPC server of ingest.v1.Ingest; ends all streams when destroyed.
class IngestServer {
 public:
  virtual ~IngestServer() = default;
  virtual int port() const = 0;
};

/// Serves `gateway`, which outlives the server, on settings.grpc_address; null when that is not
/// set. kFailedPrecondition: the address cannot be listened on.
StatusOr<std::unique_ptr<IngestServer>> StartIngestServer(
    const settings::v1::GatewaySettings& settings, Gateway& gateway);

}  // namespace millrace::gateway
