#include "services/gateway/ingest_server.h"

#include <grpc/support/time.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/service_type.h>

#include <utility>

#include "services/gateway/ingest_service.h"

namespace millrace::gateway {
namespace {

class IngestServerImpl final : public IngestServer {
 public:
  IngestServerImpl(std::unique_ptr<grpc::Service> service, std::unique_ptr<grpc::Server> server,
                   int port)
      : service_(std::move(service)), server_(std::move(server)), port_(port) {}
  ~IngestServerImpl() override {
    server_->Shutdown(
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_seconds(5, GPR_TIMESPAN)));
    server_->Wait();
  }
  int port() const override { return port_; }

 private:
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  const int port_;
};

}  // namespace

StatusOr<std::unique_ptr<IngestServer>> StartIngestServer(
    const settings::v1::GatewaySettings& settings, Gateway& gateway) {
  if (settings.grpc_address().empty()) return std::unique_ptr<IngestServer>();
  auto service = NewIngestService(gateway);
  grpc::ServerBuilder builder;
  int port = 0;
  // A client proves itself by a write key, as over HTTP; TLS ends at the proxy in front, likewise.
  builder.AddListeningPort(settings.grpc_address(), grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(service.get());
  auto server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return Error(
        StatusCode::kFailedPrecondition,
        "gateway.grpc_address: cannot listen on {}; stop what uses the port, or set another",
        settings.grpc_address());
  }
  return std::unique_ptr<IngestServer>(
      std::make_unique<IngestServerImpl>(std::move(service), std::move(server), port));
}

}  // namespace millrace::gateway
