#include "services/control-plane/control_plane.h"

#include <grpcpp/impl/service_type.h>
#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <thread>
#include <utility>

#include "libs/base/file.h"
#include "libs/base/hash.h"
#include "libs/base/ids.h"
#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/config/local_source.h"
#include "libs/pipeline/topology.h"
#include "services/control-plane/api.h"
#include "services/control-plane/config_service.h"
#include "services/control-plane/log_reader.h"
#include "services/control-plane/script_grpc.h"
#include "services/control-plane/store.h"

namespace millrace::control_plane {
namespace {

/// The token of `path`, made when there is none.
StatusOr<std::string> TokenAt(const std::string& path) {
  auto token = ReadFile(path);
  if (token.ok()) {
    while (!token->empty() && (token->back() == '\n' || token->back() == ' ')) token->pop_back();
    if (token->size() < 16) {
      return Error(StatusCode::kFailedPrecondition,
                   "{} holds no token; delete the file to have a new one made", path);
    }
    return token;
  }
  if (token.status().code() != StatusCode::kNotFound) return token.status();
  const std::string made = NewSecretHex(24);
  MR_RETURN_IF_ERROR(WriteFileAtomically(path, made + "\n", 0600));
  return made;
}

DeadLetterLimits LimitsOf(const settings::v1::ControlPlaneSettings& settings) {
  DeadLetterLimits limits;
  if (settings.dead_letter_max_age_s() > 0) {
    limits.max_age_us = static_cast<int64_t>(settings.dead_letter_max_age_s()) * 1'000'000;
  }
  if (settings.dead_letter_max_count() > 0) {
    limits.max_count = static_cast<int64_t>(settings.dead_letter_max_count());
  }
  if (settings.dead_letter_max_bytes() > 0) {
    limits.max_bytes = static_cast<int64_t>(settings.dead_letter_max_bytes());
  }
  return limits;
}

class ControlPlaneImpl final : public ControlPlane {
 public:
  ControlPlaneImpl(Deps deps, std::unique_ptr<Store> store, std::string token,
                   const settings::v1::ControlPlaneSettings& settings, std::string service_token)
      : grpc_address_(settings.grpc_address()),
        accept_new_store_(settings.accept_new_store()),
        service_token_(std::move(service_token)),
        log_(deps.log),
        clock_(deps.clock),
        store_(std::move(store)),
        reader_(deps.log, *store_, deps.clock, LimitsOf(settings)),
        topics_(KeeperDeps(deps), deps.topics),
        script_deps_{.store = *store_,
                     .config = config_,
                     .clock = deps.clock,
                     .transformers = std::move(deps.transformers),
                     .test_transformers = std::move(deps.test_transformers),
                     .before_publish = [this](const auto& next) { topics_.Ensure(next); }},
        scripts_(script_deps_, reader_),
        test_runs_(script_deps_, deps.log),
        script_routes_(scripts_, test_runs_, script_threads_),
        script_service_(MakeScriptService(scripts_, test_runs_, script_threads_, token)),
        api_({.log = deps.log,
              .clock = deps.clock,
              .store = *store_,
              .reader = reader_,
              .config = config_,
              .destinations = std::move(deps.destinations),
              .scripts = script_deps_,
              .script_routes = script_routes_,
              .topics = topics_,
              .held_back =
                  [this] {
                    return config_server_ == nullptr ? std::vector<HeldBack>()
                                                     : config_server_->held_back();
                  },
              .token = std::move(token)}) {}
  ~ControlPlaneImpl() override { Stop(); }

  Status Load() {
    MR_ASSIGN_OR_RETURN(config::v1::Workspace workspace, store_->LoadWorkspace());
    topics_.Ensure(workspace);
    config_.Set(std::make_shared<const config::v1::Workspace>(std::move(workspace)));
    const Status tidied = TidyDestinations();
    if (!tidied.ok()) log::Warning("tidying the destinations: {}", Message(tidied));
    return OkStatus();
  }

  Status Start() override {
    if (!grpc_address_.empty()) {
      MR_ASSIGN_OR_RETURN(
          config_server_,
          ConfigServer::Start(grpc_address_, service_token_, config_, script_service_.get(),
                              [this](const auto& held) { return DescentOf(held); }));
    }
    WarnOfNewStore();
    WarnOfLeftOvers();
    reader_.Start();
    topics_.Start();
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
    return OkStatus();
  }

  void Stop() override {
    config_server_.reset();
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
    script_threads_.checks.Stop();
    script_threads_.tests.Stop();
    api_.Stop();
    topics_.Stop();
    reader_.Stop();
  }

  config::ConfigSource& config() override { return config_; }
  int grpc_port() const override { return config_server_ == nullptr ? 0 : config_server_->port(); }

  void Handle(http::Request request, http::Responder responder) override {
    {
      MutexLock lock(mu_);
      if (waiting_.size() >= 256) {
        return responder.Send({.status = 503, .headers = {{"Retry-After", "1"}}, .body = "busy\n"});
      }
      waiting_.emplace_back(std::move(request), std::move(responder));
    }
    wake_.notify_one();
  }

 private:
  TopicKeeperDeps KeeperDeps(const Deps& deps) {
    return {.log = deps.log,
            .clock = deps.clock,
            .store = *store_,
            .reader = reader_,
            .config = config_,
            .make =
                [&log = deps.log, partitions = deps.destination_partitions,
                 is_warehouse =
                     deps.destinations.is_warehouse](const config::v1::Destination& destination) {
                  const auto kind = is_warehouse(destination.type())
                                        ? pipeline::DestinationKind::kWarehouse
                                        : pipeline::DestinationKind::kRouted;
                  return pipeline::EnsureDestination(log, destination.id(), kind,
                                                     {.destination_partitions = partitions});
                },
            .remove = [&log = deps.log](
                          const std::string& id) { return pipeline::DeleteDestination(log, id); }};
  }

  StatusOr<Descent> DescentOf(const config::v1::HeldConfiguration& held) {
    MR_ASSIGN_OR_RETURN(const Descent descent, store_->DescentFrom(held));
    if (descent != Descent::kForeign || !accept_new_store_) return descent;
    MR_RETURN_IF_ERROR(store_->AcceptInPlaceOf(held.store_id(),
                                               std::max(clock_.NowMicros(), held.updated_at_us())));
    return Descent::kAccepted;
  }

  /// A store without a configuration beside a log with events was not there when they came.
  void WarnOfNewStore() {
    if (config_.Current()->revision() != 1) return;
    const auto infos = log_.Describe(std::string(event_log::kIngestTopic));
    if (!infos.ok()) return;
    if (std::ranges::none_of(*infos, [](const auto& info) { return info.end_offset > 0; })) return;
    log::Warning(
        "the log has taken events, and control-plane.db holds no configuration: was the file lost? "
        "Restore it, or apply the configuration anew with the ids that it had");
  }

  /// Topics that an older version left when it deleted their destinations hold the log, but whether
  /// they are such, or the workspace was lost, nobody can say here.
  void WarnOfLeftOvers() {
    const auto topics = log_.ListTopics();
    const auto deleted = store_->DeletedDestinations();
    if (!topics.ok() || !deleted.ok()) return;
    StringSet known;
    const auto workspace = config_.Current();
    for (const auto& destination : workspace->destinations()) known.insert(destination.id());
    for (const auto& destination : *deleted) known.insert(destination.id);
    for (const std::string& topic : *topics) {
      const auto id = pipeline::DestinationOf(topic);
      if (!id.has_value() || known.contains(*id)) continue;
      log::Warning(
          "the log has topic {}, and there is no destination {}; if it was deleted, free its place "
          "by DELETE /api/v1/destinations/{}",
          topic, *id, *id);
    }
  }

  /// Of destinations that an older version disabled it is known from now on since when; give-ups
  /// that are older than all that they are for go.
  Status TidyDestinations() {
    ScriptDraft draft(script_deps_);
    for (auto& destination : *draft.workspace().mutable_destinations()) {
      Destinations::ForgetOldGiveUps(draft.NowMicros(), &destination);
      if (destination.enabled() || destination.disabled_at_us() != 0) continue;
      destination.set_disabled_at_us(draft.NowMicros());
    }
    return draft.Commit();
  }

  void Run(const std::stop_token& stop) {
    pthread_setname_np(pthread_self(), "api");
    while (true) {
      std::unique_lock lock(mu_);
      wake_.wait(lock, stop, [this] { return !waiting_.empty(); });
      if (waiting_.empty()) return;  // stopped
      auto [request, responder] = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      api_.Handle(request, responder);
    }
  }

  const std::string grpc_address_;
  const bool accept_new_store_;
  const std::string service_token_;
  event_log::EventLog& log_;
  Clock& clock_;
  std::unique_ptr<Store> store_;
  config::LocalSource config_;
  LogReader reader_;
  TopicKeeper topics_;
  const ScriptDeps script_deps_;
  Scripts scripts_;
  ScriptTestRun test_runs_;
  ScriptThreads script_threads_;
  ScriptRoutes script_routes_;
  const std::unique_ptr<grpc::Service> script_service_;
  std::unique_ptr<ConfigServer> config_server_;
  Api api_;
  Mutex mu_;
  std::condition_variable_any wake_;
  std::deque<std::pair<http::Request, http::Responder>> waiting_;
  std::jthread thread_;
};

}  // namespace

StatusOr<std::unique_ptr<ControlPlane>> ControlPlane::Create(
    const settings::v1::ControlPlaneSettings& settings, Deps deps) {
  if (settings.data_dir().empty()) {
    return Error(StatusCode::kInvalidArgument, "control_plane.data_dir is not set");
  }
  MR_RETURN_IF_ERROR(MakeFolders(settings.data_dir()));
  MR_ASSIGN_OR_RETURN(auto store, Store::Open(settings.data_dir() + "/control-plane.db"));
  MR_ASSIGN_OR_RETURN(std::string token, TokenAt(settings.data_dir() + "/api-token"));
  std::string service_token;
  if (!settings.grpc_address().empty()) {
    MR_ASSIGN_OR_RETURN(service_token, TokenAt(settings.data_dir() + "/service-token"));
  }
  auto control_plane = std::make_unique<ControlPlaneImpl>(
      std::move(deps), std::move(store), std::move(token), settings, std::move(service_token));
  MR_RETURN_IF_ERROR(control_plane->Load());
  return control_plane;
}

}  // namespace millrace::control_plane
