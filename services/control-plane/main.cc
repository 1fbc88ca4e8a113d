// millrace-control-plane: the configuration, its API, the audit and the dead letters. Only wiring.

#include <utility>

#include "libs/destination/catalogue_functions.h"
#include "libs/script/worker.h"
#include "libs/service/open_log.h"
#include "libs/service/process.h"
#include "libs/transformation/runtime.h"
#include "services/control-plane/control_plane.h"

namespace millrace {
namespace {

Status Run(service::Process& process) {
  auto& settings = *process.settings().mutable_control_plane();
  if (settings.data_dir().empty()) settings.set_data_dir(process.settings().data_dir());
  if (settings.grpc_address().empty()) settings.set_grpc_address("127.0.0.1:8090");
  MR_ASSIGN_OR_RETURN(const auto catalogue,
                      destination::LoadCatalogue(process.settings().destinations_dir()));
  MR_RETURN_IF_ERROR(service::EnsureSharedTopics(process.log(), process.settings().event_log()));
  // Apart from each other, so that no test run holds up a publish.
  const auto& transformation = process.settings().transformation();
  MR_ASSIGN_OR_RETURN(const auto checks, transformation::Runtime::Create(transformation, 1));
  MR_ASSIGN_OR_RETURN(const auto test_runs, transformation::Runtime::Create(transformation, 1));
  MR_ASSIGN_OR_RETURN(
      const auto control_plane,
      control_plane::ControlPlane::Create(
          settings, {.log = process.log(),
                     .clock = process.clock(),
                     .destinations = {.validate = destination::ValidatorOf(catalogue),
                                      .mask = destination::MaskerOf(catalogue),
                                      .is_warehouse = destination::WarehouseTestOf(catalogue)},
                     .transformers = [&runtime = *checks] { return runtime.Started(); },
                     .test_transformers = [&runtime = *test_runs] { return runtime.Started(); },
                     .destination_partitions =
                         service::DestinationPartitions(process.settings().event_log())}));
  MR_RETURN_IF_ERROR(control_plane->Start());
  MR_RETURN_IF_ERROR(process.Serve(
      {},
      [&](http::Request request, http::Responder responder) {
        control_plane->Handle(std::move(request), std::move(responder));
      },
      [] { return true; }));
  process.WaitForEnd();
  process.StopServing();
  control_plane->Stop();
  return OkStatus();
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::script::MaybeRunWorker(argc, argv);
  return millrace::service::Main("millrace-control-plane", "owns the configuration", argc, argv,
                                 millrace::Run);
}
