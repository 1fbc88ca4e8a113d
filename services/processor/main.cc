// millrace-processor: from topic `ingest` to the destinations' topics. Only wiring.

#include "libs/destination/catalogue_functions.h"
#include "libs/script/worker.h"
#include "libs/service/open_log.h"
#include "libs/service/process.h"
#include "libs/transformation/runtime.h"
#include "services/processor/processor.h"

namespace millrace {
namespace {

Status Run(service::Process& process) {
  auto& settings = *process.settings().mutable_processor();
  if (settings.state_dir().empty())
    settings.set_state_dir(process.settings().data_dir() + "/processor");
  if (settings.instance().empty()) settings.set_instance("processor-" + process.instance());
  MR_ASSIGN_OR_RETURN(const auto catalogue,
                      destination::LoadCatalogue(process.settings().destinations_dir()));
  MR_RETURN_IF_ERROR(process.Watch());
  const auto& log_settings = process.settings().event_log();
  MR_RETURN_IF_ERROR(service::EnsureSharedTopics(process.log(), log_settings));
  MR_ASSIGN_OR_RETURN(const auto transformers,
                      transformation::Runtime::Create(process.settings().transformation(),
                                                      process.settings().script_workers()));
  MR_ASSIGN_OR_RETURN(
      const auto processor,
      processor::Processor::Create(
          settings, {.log = process.log(),
                     .clock = process.clock(),
                     .metrics = process.metrics(),
                     .workspace = process.workspace(),
                     .types = destination::DefinitionsOf(catalogue),
                     .ingest_partitions = service::IngestPartitions(log_settings),
                     .destination_partitions = service::DestinationPartitions(log_settings),
                     .transformers = transformers.get(),
                     .transformation = process.settings().transformation()}));
  MR_RETURN_IF_ERROR(processor->Start());
  process.ReportLag("processor");
  MR_RETURN_IF_ERROR(process.Serve({}, nullptr, [] { return true; }));
  process.WaitForEnd();
  processor->Stop(service::kDrainTimeout);
  return OkStatus();
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::script::MaybeRunWorker(argc, argv);
  return millrace::service::Main("millrace-processor",
                                 "validates, deduplicates, transforms and routes events", argc,
                                 argv, millrace::Run);
}
