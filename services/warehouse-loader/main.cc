// millrace-warehouse-loader: from the destinations' topics into warehouses. Only wiring.

#include "libs/destination/catalogue_functions.h"
#include "libs/service/open_log.h"
#include "libs/service/outbound.h"
#include "libs/service/process.h"
#include "libs/warehouses/registry.h"
#include "services/warehouse-loader/warehouse_loader.h"

namespace millrace {
namespace {

Status Run(service::Process& process) {
  MR_RETURN_IF_ERROR(process.Watch());
  const auto& log_settings = process.settings().event_log();
  MR_RETURN_IF_ERROR(service::EnsureSharedTopics(process.log(), log_settings));
  MR_ASSIGN_OR_RETURN(const auto guard, service::WarehouseGuard(process.settings()));
  const auto warehouses = warehouses::All(guard);
  MR_ASSIGN_OR_RETURN(const auto catalogue,
                      destination::LoadCatalogue(process.settings().destinations_dir()));
  MR_ASSIGN_OR_RETURN(const auto loader, warehouse_loader::WarehouseLoader::Create(
                                             process.settings().warehouse_loader(),
                                             {.log = process.log(),
                                              .clock = process.clock(),
                                              .metrics = process.metrics(),
                                              .workspace = process.workspace(),
                                              .warehouses = warehouses,
                                              .read_config = destination::ConfigsOf(catalogue),
                                              .instance = process.instance()}));
  MR_RETURN_IF_ERROR(loader->Start());
  process.ReportLag("warehouse-loader");
  MR_RETURN_IF_ERROR(process.Serve({}, nullptr, [] { return true; }));
  process.WaitForEnd();
  loader->Stop(service::kDrainTimeout);
  return OkStatus();
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  return millrace::service::Main("millrace-warehouse-loader", "loads events into warehouses", argc,
                                 argv, millrace::Run);
}
