#include "services/warehouse-loader/warehouse_loader.h"

#include <algorithm>
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
constexpr std::chrono::seconds kEndPatience{10};  // with a last load, before it is cancelled
constexpr std::chrono::milliseconds kCancelStep{500};

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
  for (auto& [id, slot] : workers_) slot.worker->AskToStop(deadline.count() > 0);
  {
    const MonotonicTime until = deps_.clock.Monotonic() + deadline;
    const auto all_ended = [this] {
      return std::ranges::all_of(workers_,
                                 [](const auto& slot) { return slot.second.worker->ended(); });
    };
    MutexLock lock(mu_);
    while (!all_ended() && deps_.clock.Monotonic() < until) {
      changed_.wait_for(lock.native(), until - deps_.clock.Monotonic());
    }
  }
  for (auto& [id, slot] : workers_) slot.worker->Cancel();
  workers_.clear();
}

void WarehouseLoader::Run() {
  config::WorkspacePtr workspace;
  bool ending = false;  // a worker
  while (true) {
    {
      MutexLock lock(mu_);
      while (wanted_ == nullptr && !stopping_ && !ended_) {
        if (!ending) {
          changed_.wait(lock.native());
        } else if (changed_.wait_for(lock.native(), kCancelStep) == std::cv_status::timeout) {
          break;
        }
      }
      if (stopping_) return;
      ended_ = false;
      if (wanted_ != nullptr) workspace = std::exchange(wanted_, nullptr);
    }
    if (workspace != nullptr) ending = Reconcile(*workspace);
  }
}

const warehouse::Warehouse* WarehouseLoader::Find(std::string_view type) const {
  for (const auto& warehouse : deps_.warehouses) {
    if (warehouse->type() == type) return warehouse.get();
  }
  return nullptr;
}

/// Asks workers to end that nobody wants as they are, and forgets those that have. One that hangs
/// holds up nobody; its connection is ended after a while. Whether one has still to end.
bool WarehouseLoader::EndUnwanted(const Wanted& wanted) {
  const MonotonicTime now = deps_.clock.Monotonic();
  bool ending = false;
  for (auto at = workers_.begin(); at != workers_.end();) {
    Slot& slot = at->second;
    const auto found = wanted.find(at->first);
    if (!slot.ending && found != wanted.end() && found->second.key == slot.key) {
      ++at;
      continue;
    }
    if (!slot.ending) {
      slot.ending = true;
      slot.asked_at = now;
      slot.worker->AskToStop(true);
    }
    if (slot.worker->ended()) {
      at = workers_.erase(at);
      continue;
    }
    if (now - slot.asked_at >= kEndPatience) slot.worker->Cancel();
    ending = true;
    ++at;
  }
  return ending;
}

bool WarehouseLoader::Reconcile(const config::v1::Workspace& workspace) {
  Wanted wanted;
  for (const auto& destination : workspace.destinations()) {
    if (!destination.enabled() || destination.paused() || Find(destination.type()) == nullptr) {
      continue;
    }
    // By all that matters to a worker: a destination whose configuration changed gets a new one.
    wanted[destination.id()] = {
        .key = destination.type() + "\n" + destination.config_json(),
        .destination = &destination,
    };
  }
  const bool ending = EndUnwanted(wanted);
  for (const auto& [id, want] : wanted) {
    if (workers_.contains(id)) continue;  // also while the one before ends
    const config::v1::Destination& destination = *want.destination;
    const warehouse::Warehouse& warehouse = *Find(destination.type());
    auto config = deps_.read_config(destination);
    if (!config.ok()) {
      if (std::exchange(refused_[id], want.key) != want.key) {
        log::Error("warehouse-loader: destination {} is not loaded: {}", id,
                   Message(config.status()));
      }
      continue;
    }
    refused_.erase(id);
    workers_[id] = {
        .key = want.key,
        .worker = std::make_unique<DestinationWorker>(
            deps_, settings_, warehouse, destination,
            ReadDestinationConfig(destination, *std::move(config), warehouse.dialect(),
                                  std::chrono::milliseconds(settings_.sync_interval_ms())),
            [this] {
              MutexLock lock(mu_);
              ended_ = true;
              changed_.notify_all();
            })};
  }
  std::erase_if(refused_, [&wanted](const auto& entry) { return !wanted.contains(entry.first); });
  return ending;
}

}  // namespace millrace::warehouse_loader
