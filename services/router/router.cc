#include "services/router/router.h"

#include <algorithm>
#include <utility>

#include "libs/pipeline/topology.h"
#include "services/router/shared.h"
#include "services/router/worker.h"

namespace millrace::router {
namespace {

constexpr uint32_t kMaxWorkers = 256;
// Of the memory for windows, what each partition may have whatever the others hold.
constexpr size_t kWindowMinimum = 64 << 10;

void SetDefaults(settings::v1::RouterSettings* settings) {
  const auto or_default = [](auto value, auto fallback) { return value == 0 ? fallback : value; };
  settings->set_workers(or_default(settings->workers(), 1u));
  settings->set_commit_interval_ms(or_default(settings->commit_interval_ms(), 20u));
  settings->set_commit_max_events(or_default(settings->commit_max_events(), 1'000u));
  settings->set_max_retry_age_s(or_default(settings->max_retry_age_s(), uint64_t{259'200}));
  settings->set_retry_initial_ms(or_default(settings->retry_initial_ms(), 1'000u));
  settings->set_retry_max_ms(or_default(settings->retry_max_ms(), 300'000u));
  settings->set_window_records(or_default(settings->window_records(), 10'000u));
  settings->set_window_bytes(or_default(settings->window_bytes(), uint64_t{32} << 20));
  settings->set_concurrent_requests(or_default(settings->concurrent_requests(), 64u));
  settings->set_mapping_batch(or_default(settings->mapping_batch(), 100u));
  settings->set_request_timeout_ms(or_default(settings->request_timeout_ms(), 30'000u));
  settings->set_connect_timeout_ms(or_default(settings->connect_timeout_ms(), 5'000u));
  settings->set_park_after_ms(or_default(settings->park_after_ms(), 10'000u));
  settings->set_window_total_bytes(or_default(settings->window_total_bytes(), uint64_t{256} << 20));
  settings->set_retry_after_cap_s(or_default(settings->retry_after_cap_s(), uint64_t{3'600}));
  settings->set_disabled_backlog_s(or_default(settings->disabled_backlog_s(), uint64_t{604'800}));
}

}  // namespace

Router::Router(const settings::v1::RouterSettings& settings, Deps deps)
    : deps_(std::move(deps)),
      shared_(
          std::make_unique<Shared>(deps_.clock, settings.window_total_bytes(), kWindowMinimum)) {
  shared_->circuit_changed = [this](const std::string& destination_id) {
    for (const auto& worker : workers_) worker->OnCircuitChanged(destination_id);
  };
}

StatusOr<std::unique_ptr<Router>> Router::Create(const settings::v1::RouterSettings& settings,
                                                 Deps deps) {
  settings::v1::RouterSettings complete = settings;
  SetDefaults(&complete);
  if (complete.workers() > kMaxWorkers) {
    return Error(StatusCode::kInvalidArgument, "workers: {} is more than {}", complete.workers(),
                 kMaxWorkers);
  }
  if (complete.retry_max_ms() < complete.retry_initial_ms()) {
    return Error(StatusCode::kInvalidArgument, "retry_max_ms: less than retry_initial_ms");
  }
  std::unique_ptr<Router> router(new Router(complete, std::move(deps)));
  for (uint32_t i = 0; i < complete.workers(); ++i) {
    MR_ASSIGN_OR_RETURN(auto worker, Worker::Create(complete, router->deps_, *router->shared_, i));
    router->workers_.push_back(std::move(worker));
  }
  return router;
}

Router::~Router() {
  Stop(std::chrono::milliseconds(0));
}

Status Router::Start() {
  for (const auto& worker : workers_) worker->Start();
  subscription_ = deps_.workspace.Subscribe(
      [this](const config::WorkspacePtr& workspace) { OnWorkspace(workspace); });
  return OkStatus();
}

void Router::OnWorkspace(const config::WorkspacePtr& workspace) {
  if (workspace == nullptr) return;
  std::vector<std::string> topics;
  for (const auto& destination : workspace->destinations()) {
    const auto* definition = deps_.types.find(destination.type());
    if (definition == nullptr || definition->kind() != destination::v1::HTTP_DESTINATION) continue;
    topics.push_back(event_log::DestinationTopic(destination.id()));
    topics.push_back(pipeline::ParkingTopic(destination.id()));
  }
  std::ranges::sort(topics);
  for (const auto& worker : workers_) worker->SetWorkspace(workspace, topics);
}

void Router::Stop(std::chrono::milliseconds deadline) {
  if (std::exchange(stopped_, true)) return;
  subscription_.reset();
  std::vector<std::thread> stoppers;
  for (const auto& worker : workers_) {
    stoppers.emplace_back([&worker, deadline] { worker->Stop(deadline); });
  }
  for (auto& stopper : stoppers) stopper.join();
}

}  // namespace millrace::router
