#include "services/warehouse-loader/warehouse_loader.h"

#include <utility>

#include "libs/base/log.h"
#include "services/warehouse-loader/destination_config.h"
#include "services/warehouse-loader/destination_worker.h"

namespace millrace::warehouse_loader {
namespace {

constexpr uint32_t kDefaultSyncMs = 1000;
constexpr uint32_t kDefaultLoadEvents = 50'000;
constexpr uint64_t kDefaultLoadBytes = uint64_t{32} << 20;
constexpr uint32_t kDefaultRetryMs = 1000;
constexpr uint32_t kDefaultRetryMaxMs = 60'000;

}  // namespace

WarehouseLoader::WarehouseLoader(const settings::v1::WarehouseLoaderSettings& settings, Deps deps)
    : settings_(settings), deps_(std::move(deps)) {}

WarehouseLoader::~WarehouseLoader() {
  Stop(std::chrono::milliseconds(0));
}

StatusOr<std::unique_ptr<WarehouseLoader>> WarehouseLoader::Create(
    const settings::v1::WarehouseLoaderSettings& given, Deps deps) {
  settings::v1::WarehouseLoaderSettings settings = given;
  if (settings.sync_interval_ms() == 0) settings.set_sync_interval_ms(kDefaultSyncMs);
  if (settings.max_load_events() == 0) settings.set_max_load_events(kDefaultLoadEvents);
  if (settings.max_load_bytes() == 0) settings.set_max_load_bytes(kDefaultLoadBytes);
  if (settings.retry_initial_ms() == 0) settings.set_retry_initial_ms(kDefaultRetryMs);
  if (settings.retry_max_ms() == 0) settings.set_retry_max_ms(kDefaultRetryMaxMs);
  if (settings.retry_max_ms() < settings.retry_initial_ms()) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "warehouse_loader.retry_max_ms is less than retry_initial_ms");
  }
  if (deps.destination_partitions < 1) {
    return MakeStatus(StatusCode::kInvalidArgument, "destination_partitions must be at least 1");
  }
  return std::unique_ptr<WarehouseLoader>(new WarehouseLoader(settings, std::move(deps)));
}

Status WarehouseLoader::Start() {
  thread_ = std::thread([this] { Run(); });
  subscription_ = deps_.workspace.Subscribe([this](config::WorkspacePtr workspace) {
    MutexLock lock(mu_);
    wanted_ = std::move(workspace);
    changed_.notify_all();
  });
  return OkStatus();
}

void WarehouseLoader::Stop(std::chrono::milliseconds deadline) {
  if (std::exchange(stopped_, true)) return;
  subscription_.reset();
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  for (const auto& [key, worker] : workers_) worker->AskToStop(deadline.count() > 0);
  workers_.clear();
}

void WarehouseLoader::Run() {
  while (true) {
    config::WorkspacePtr workspace;
    {
      MutexLock lock(mu_);
      while (wanted_ == nullptr && !stopping_) changed_.wait(lock.native());
      if (stopping_) return;
      workspace = std::exchange(wanted_, nullptr);
    }
    Reconcile(*workspace);
  }
}

const warehouse::Warehouse* WarehouseLoader::Find(std::string_view type) const {
  for (const auto& warehouse : deps_.warehouses) {
    if (warehouse->type() == type) return warehouse.get();
  }
  return nullptr;
}

void WarehouseLoader::Reconcile(const config::v1::Workspace& workspace) {
  // By all that matters to a worker: a destination whose configuration changed gets a new one.
  std::map<std::string, const config::v1::Destination*> wanted;
  for (const auto& destination : workspace.destinations()) {
    if (!destination.enabled() || Find(destination.type()) == nullptr) continue;
    wanted[destination.id() + "\n" + destination.type() + "\n" + destination.config_json()] =
        &destination;
  }
  std::erase_if(workers_, [&wanted](const auto& entry) {
    if (wanted.contains(entry.first)) return false;
    entry.second->AskToStop(true);
    return true;
  });
  for (const auto& [key, destination] : wanted) {
    if (workers_.contains(key)) continue;
    const warehouse::Warehouse& warehouse = *Find(destination->type());
    auto config = deps_.read_config(*destination);
    if (!config.ok()) {
      log::Error("warehouse-loader: destination {} is not loaded: {}", destination->id(),
                 Message(config.status()));
      continue;
    }
    workers_.emplace(
        key, std::make_unique<DestinationWorker>(
                 deps_, settings_, warehouse, *destination,
                 ReadDestinationConfig(*destination, *std::move(config), warehouse.dialect(),
                                       std::chrono::milliseconds(settings_.sync_interval_ms()))));
  }
}

}  // namespace millrace::warehouse_loader
