// millrace-gateway: takes events over HTTP and gRPC. Only wiring.

#include <utility>

#include "libs/service/open_log.h"
#include "libs/service/process.h"
#include "services/gateway/gateway.h"
#include "services/gateway/ingest_server.h"

namespace millrace {
namespace {

Status Run(service::Process& process) {
  const auto& settings = process.settings().gateway();
  MR_RETURN_IF_ERROR(process.Watch());
  MR_RETURN_IF_ERROR(service::EnsureSharedTopics(process.log(), process.settings().event_log()));
  MR_ASSIGN_OR_RETURN(const auto gateway,
                      gateway::Gateway::Create(settings, {.log = process.log(),
                                                          .config = process.workspace(),
                                                          .metrics = process.metrics(),
                                                          .clock = process.clock()}));
  MR_ASSIGN_OR_RETURN(const auto ingest, gateway::StartIngestServer(settings, *gateway));
  MR_RETURN_IF_ERROR(process.Serve(
      gateway::Gateway::ServerOptionsOf(settings),
      [&](http::Request request, http::Responder responder) {
        gateway->Handle(std::move(request), std::move(responder));
      },
      [&] { return gateway->Ready(); }));
  process.WaitForEnd();
  gateway->Drain(service::kDrainTimeout);
  process.StopServing();
  return OkStatus();
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  return millrace::service::Main("millrace-gateway", "takes events from SDKs and services", argc, argv,
                                 millrace::Run);
}
