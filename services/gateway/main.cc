// millrace-gateway: takes events over HTTP and gRPC. Only wiring.

#include <algorithm>
#include <utility>

#include "libs/service/open_log.h"
#include "libs/service/process.h"
#include "services/gateway/gateway.h"
#include "services/gateway/ingest_server.h"
#include "services/gateway/spill.h"

namespace millrace {
namespace {

constexpr int64_t kSpillBytes = 1LL << 30;
constexpr int64_t kLargestSegment = 16LL << 20;
constexpr int64_t kSmallestSegment = 1LL << 20;

StatusOr<std::unique_ptr<event_log::EventLog>> OpenSpill(service::Process& process) {
  const auto& gateway = process.settings().gateway();
  settings::v1::EventLogSettings settings;
  settings.mutable_local()->set_path(
      gateway.spill_dir().empty() ? process.settings().data_dir() + "/spill" : gateway.spill_dir());
  const int64_t quota = gateway.spill_quota_bytes() > 0 ? gateway.spill_quota_bytes() : kSpillBytes;
  settings.mutable_local()->set_quota_bytes(quota);
  settings.mutable_local()->set_segment_bytes(
      std::clamp(quota / 8, kSmallestSegment, kLargestSegment));
  auto spill = service::OpenEventLog(settings, "", process.clock());
  if (!spill.ok()) return Annotate(spill.status(), "gateway.spill_dir");
  return spill;
}

Status Run(service::Process& process) {
  const auto& settings = process.settings().gateway();
  MR_RETURN_IF_ERROR(process.Watch());
  MR_RETURN_IF_ERROR(service::EnsureSharedTopics(process.log(), process.settings().event_log()));
  gateway::Deps deps{.log = process.log(),
                     .config = process.workspace(),
                     .metrics = process.metrics(),
                     .clock = process.clock(),
                     .instance = process.instance(),
                     .whole_appends = process.settings().event_log().backend() != "kafka"};
  if (process.settings().event_log().backend() == "kafka" && settings.spill_quota_bytes() >= 0) {
    MR_ASSIGN_OR_RETURN(auto spill, OpenSpill(process));
    MR_ASSIGN_OR_RETURN(
        deps.appender,
        gateway::SpillAppender::Create([&log = process.log()] { return log.NewAppender(); },
                                       std::move(spill), process.metrics(), process.clock(), {}));
  }
  MR_ASSIGN_OR_RETURN(const auto gateway, gateway::Gateway::Create(settings, std::move(deps)));
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
  return millrace::service::Main("millrace-gateway", "takes events from SDKs and services", argc,
                                 argv, millrace::Run);
}
