#include "services/control-plane/control_plane.h"

#include <grpcpp/impl/service_type.h>
#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <thread>
#include <utility>

#include "libs/base/file.h"
#include "libs/base/hash.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/config/local_source.h"
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
  ControlPlaneImpl(Deps deps, std::unique_ptr<Store> store, const DeadLetterLimits& limits,
                   std::string token, std::string grpc_address, std::string service_token)
      : grpc_address_(std::move(grpc_address)),
        service_token_(std::move(service_token)),
        store_(std::move(store)),
        reader_(deps.log, *store_, deps.clock, limits),
        script_deps_{.store = *store_,
                     .config = config_,
                     .clock = deps.clock,
                     .transformers = std::move(deps.transformers),
                     .test_transformers = std::move(deps.test_transformers)},
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
              .token = std::move(token)}) {}
  ~ControlPlaneImpl() override { Stop(); }

  Status Load() {
    MR_ASSIGN_OR_RETURN(config::v1::Workspace workspace, store_->LoadWorkspace());
    config_.Set(std::make_shared<const config::v1::Workspace>(std::move(workspace)));
    return OkStatus();
  }

  Status Start() override {
    if (!grpc_address_.empty()) {
      MR_ASSIGN_OR_RETURN(config_server_, ConfigServer::Start(grpc_address_, service_token_,
                                                              config_, script_service_.get()));
    }
    reader_.Start();
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
  const std::string service_token_;
  std::unique_ptr<Store> store_;
  config::LocalSource config_;
  LogReader reader_;
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
      std::move(deps), std::move(store), LimitsOf(settings), std::move(token),
      settings.grpc_address(), std::move(service_token));
  MR_RETURN_IF_ERROR(control_plane->Load());
  return control_plane;
}

}  // namespace millrace::control_plane
