#include "services/millrace/up.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "libs/base/file.h"
#include "libs/base/log.h"
#include "libs/destination/catalogue_functions.h"
#include "libs/destination/script_mapper.h"
#include "libs/http/server.h"
#include "libs/pipeline/share_watch.h"
#include "libs/script/worker_pool.h"
#include "libs/service/lag_reporter.h"
#include "libs/service/metrics_page.h"
#include "libs/service/open_log.h"
#include "libs/service/outbound.h"
#include "libs/service/run.h"
#include "libs/service/start_guard.h"
#include "libs/telemetry/metrics.h"
#include "libs/transformation/runtime.h"
#include "libs/transports/http/http_transport.h"
#include "libs/warehouses/registry.h"
#include "services/control-plane/control_plane.h"
#include "services/gateway/gateway.h"
#include "services/gateway/ingest_server.h"
#include "services/processor/processor.h"
#include "services/router/router.h"
#include "services/warehouse-loader/warehouse_loader.h"

namespace millrace::up {
namespace {

using settings::v1::ProcessSettings;

constexpr std::chrono::milliseconds kDrain{10'000};

/// Whether the list of services, comma between, empty for all, names `service`.
bool Runs(const ProcessSettings& settings, std::string_view service) {
  if (settings.services().empty()) return true;
  const std::string list = "," + settings.services() + ",";
  return list.find("," + std::string(service) + ",") != std::string::npos;
}

/// Whether a destination of the source is to refuse events while its share of the log is used up.
bool Refuses(const pipeline::ShareWatch& shares, const gateway::SourceEntry& source) {
  const auto now = shares.Current();
  return std::any_of(source.destinations.begin(), source.destinations.end(),
                     [&](const std::string& destination) {
                       const pipeline::DestinationShare* share = now->Find(destination);
                       return share != nullptr && share->refuse_sources;
                     });
}

http::Handler Mount(gateway::Gateway& gateway, control_plane::ControlPlane& control_plane,
                    service::MetricsPage& metrics) {
  return [&](http::Request request, http::Responder responder) {
    if (request.path.rfind("/api/", 0) == 0) {
      return control_plane.Handle(std::move(request), std::move(responder));
    }
    if (service::MetricsPage::Wants(request)) return metrics.Answer(std::move(responder));
    gateway.Handle(std::move(request), std::move(responder));
  };
}

}  // namespace

Status Run(const ProcessSettings& given) {
  service::StartGuard starting;
  ProcessSettings settings = given;
  if (settings.data_dir().empty()) settings.set_data_dir("millrace-data");
  if (settings.listen().empty()) settings.set_listen("127.0.0.1:8080");
  const std::string& data_dir = settings.data_dir();
  MR_ASSIGN_OR_RETURN(const auto listen, service::ParseListenAddress(settings.listen()));
  MR_RETURN_IF_ERROR(service::ShareAllowedNetworks(settings));
  MR_RETURN_IF_ERROR(MakeFolders(data_dir));

  MR_ASSIGN_OR_RETURN(const auto catalogue,
                      destination::LoadCatalogue(settings.destinations_dir()));
  telemetry::Metrics metrics;
  MR_ASSIGN_OR_RETURN(const auto log,
                      service::OpenEventLog(settings.event_log(), data_dir, SystemClock()));

  MR_ASSIGN_OR_RETURN(
      const auto transformers,
      transformation::Runtime::Create(settings.transformation(), settings.script_workers()));
  // Apart from the processor's, so that no test run holds up events, and no event a fix's
  // publishing.
  MR_ASSIGN_OR_RETURN(const auto checks,
                      transformation::Runtime::Create(settings.transformation(), 1));
  MR_ASSIGN_OR_RETURN(const auto test_runs,
                      transformation::Runtime::Create(settings.transformation(), 1));
  settings.mutable_control_plane()->set_data_dir(data_dir);
  MR_ASSIGN_OR_RETURN(
      const auto control_plane,
      control_plane::ControlPlane::Create(
          settings.control_plane(),
          {.log = *log,
           .clock = SystemClock(),
           .destinations = {.validate = destination::ValidatorOf(catalogue),
                            .mask = destination::MaskerOf(catalogue),
                            .is_warehouse = destination::WarehouseTestOf(catalogue)},
           .transformers = [&runtime = *checks] { return runtime.Started(); },
           .test_transformers = [&runtime = *test_runs] { return runtime.Started(); },
           .destination_partitions = service::DestinationPartitions(settings.event_log())}));

  const int ingest_partitions = service::IngestPartitions(settings.event_log());
  const int destination_partitions = service::DestinationPartitions(settings.event_log());
  if (settings.processor().state_dir().empty()) {
    settings.mutable_processor()->set_state_dir(data_dir + "/processor");
  }
  MR_ASSIGN_OR_RETURN(const auto processor,
                      processor::Processor::Create(
                          settings.processor(), {.log = *log,
                                                 .clock = SystemClock(),
                                                 .metrics = metrics,
                                                 .workspace = control_plane->config(),
                                                 .types = destination::DefinitionsOf(catalogue),
                                                 .ingest_partitions = ingest_partitions,
                                                 .destination_partitions = destination_partitions,
                                                 .transformers = transformers.get(),
                                                 .transformation = settings.transformation()}));
  MR_RETURN_IF_ERROR(service::EnsureSharedTopics(*log, settings.event_log()));
  pipeline::ShareWatch shares(service::ShareOptionsOf(settings.event_log()), *log,
                              control_plane->config(), metrics);
  MR_ASSIGN_OR_RETURN(
      const auto gateway,
      gateway::Gateway::Create(
          settings.gateway(),
          {.log = *log,
           .config = control_plane->config(),
           .metrics = metrics,
           .refuses =
               [&shares](const gateway::SourceEntry& source) { return Refuses(shares, source); },
           .instance = service::InstanceName(settings),
           .whole_appends = settings.event_log().backend() != "kafka"}));
  script::ScriptSettings script_settings;
  if (settings.script_workers() > 0) {
    script_settings.workers = static_cast<int>(settings.script_workers());
  }
  MR_ASSIGN_OR_RETURN(const auto scripts, script::WorkerPool::Start(script_settings));
  const auto& allowed = settings.router().allowed_networks();
  MR_ASSIGN_OR_RETURN(
      const auto router,
      router::Router::Create(
          settings.router(),
          {.log = *log,
           .clock = SystemClock(),
           .metrics = metrics,
           .workspace = control_plane->config(),
           .types = {.find = destination::DefinitionsOf(catalogue),
                     .make_mapper = destination::MappersOf(catalogue, *scripts)},
           .shares = &shares,
           .make_transport = transports::HttpTransports(
               {.allowed_networks = {allowed.begin(), allowed.end()}, .metrics = &metrics})}));

  MR_ASSIGN_OR_RETURN(const auto guard, service::WarehouseGuard(settings));
  const auto warehouses = warehouses::All(guard);
  MR_ASSIGN_OR_RETURN(const auto loader, warehouse_loader::WarehouseLoader::Create(
                                             settings.warehouse_loader(),
                                             {.log = *log,
                                              .clock = SystemClock(),
                                              .metrics = metrics,
                                              .workspace = control_plane->config(),
                                              .warehouses = warehouses,
                                              .read_config = destination::ConfigsOf(catalogue)}));

  MR_RETURN_IF_ERROR(control_plane->Start());
  shares.Start();
  if (Runs(settings, "processor")) MR_RETURN_IF_ERROR(processor->Start());
  if (Runs(settings, "router")) MR_RETURN_IF_ERROR(router->Start());
  if (Runs(settings, "warehouse-loader")) MR_RETURN_IF_ERROR(loader->Start());
  MR_ASSIGN_OR_RETURN(const auto ingest, gateway::StartIngestServer(settings.gateway(), *gateway));
  service::LagReporter lag({.log_folder = service::LocalLogFolder(settings.event_log(), data_dir)},
                           *log, metrics);
  lag.Start();
  http::ServerOptions http_options = gateway::Gateway::ServerOptionsOf(settings.gateway());
  http_options.address = listen.host;
  http_options.port = listen.port;
  http_options.first_reserved_descriptor = service::FirstReservedDescriptor();
  service::MetricsPage metrics_page(metrics);
  MR_ASSIGN_OR_RETURN(
      const auto server,
      http::Server::Start(http_options, Mount(*gateway, *control_plane, metrics_page)));
  metrics_page.Watch(*server);
  starting.End();
  log::Info("ready: http://{}:{}, data in {}", listen.host, server->port(), data_dir);

  log::Info("{}: draining", service::WaitForSignal());
  gateway->Drain(kDrain);
  server->Stop(kDrain);
  if (Runs(settings, "processor")) processor->Stop(kDrain);
  if (Runs(settings, "router")) router->Stop(kDrain);
  if (Runs(settings, "warehouse-loader")) loader->Stop(kDrain);
  control_plane->Stop();
  lag.Stop();
  shares.Stop();
  log::Info("stopped");
  return OkStatus();
}

}  // namespace millrace::up
