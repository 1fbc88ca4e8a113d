// millrace-router: from the destinations' topics to the tools. Only wiring.

#include "libs/destination/catalogue_functions.h"
#include "libs/destination/script_mapper.h"
#include "libs/script/worker.h"
#include "libs/service/open_log.h"
#include "libs/service/process.h"
#include "libs/transports/http/http_transport.h"
#include "services/router/router.h"

namespace millrace {
namespace {

Status Run(service::Process& process) {
  MR_ASSIGN_OR_RETURN(const auto catalogue,
                      destination::LoadCatalogue(process.settings().destinations_dir()));
  script::ScriptSettings script_settings;
  if (process.settings().script_workers() > 0) {
    script_settings.workers = static_cast<int>(process.settings().script_workers());
  }
  MR_ASSIGN_OR_RETURN(const auto scripts, script::WorkerPool::Start(script_settings));
  MR_RETURN_IF_ERROR(process.Watch());
  const auto& log_settings = process.settings().event_log();
  MR_RETURN_IF_ERROR(service::EnsureSharedTopics(process.log(), log_settings));
  const auto& allowed = process.settings().router().allowed_networks();
  MR_ASSIGN_OR_RETURN(
      const auto router,
      router::Router::Create(process.settings().router(),
                             {.log = process.log(),
                              .clock = process.clock(),
                              .metrics = process.metrics(),
                              .workspace = process.workspace(),
                              .types = {.find = destination::DefinitionsOf(catalogue),
                                        .make_mapper = destination::MappersOf(catalogue, *scripts)},
                              .make_transport = transports::HttpTransports(
                                  {.allowed_networks = {allowed.begin(), allowed.end()},
                                   .metrics = &process.metrics()}),
                              .instance = process.instance()}));
  MR_RETURN_IF_ERROR(router->Start());
  process.ReportLag("router");
  MR_RETURN_IF_ERROR(process.Serve({}, nullptr, [] { return true; }));
  process.WaitForEnd();
  router->Stop(service::kDrainTimeout);
  return OkStatus();
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::script::MaybeRunWorker(argc, argv);
  return millrace::service::Main("millrace-router", "delivers events to tools over HTTP", argc,
                                 argv, millrace::Run);
}
