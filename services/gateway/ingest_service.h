#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace millrace::gateway {

class Gateway;

/// The gRPC ingestion service on `gateway`, to be registered with a grpc::ServerBuilder. Requests
/// of a stream are pipelined, up to 64 at once; the answers come in their order. `gateway` outlives
/// the server, and the server the service.
std::unique_ptr<grpc::Service> NewIngestService(Gateway& gateway);

}  // namespace millrace::gateway
