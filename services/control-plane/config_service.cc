#include "services/control-plane/config_service.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <map>
#include <string_view>
#include <utility>

#include "libs/base/hash.h"
#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/config/workspace_delta.h"
#include "millrace/config/v1/config_service.grpc.pb.h"

namespace millrace::control_plane {
namespace {

using config::WorkspacePtr;
using config::v1::WatchRequest;
using config::v1::WatchResponse;

/// One watcher's stream. Deletes itself when gRPC is done with it.
class Watcher final : public grpc::ServerWriteReactor<WatchResponse> {
 public:
  Watcher(config::ConfigSource& source, const WatchRequest& request, bool accepted)
      : name_(request.service() + "/" + request.instance()),
        takes_lists_(request.takes_lists()),
        accepted_(accepted) {
    const WorkspacePtr current = source.Current();
    if (current != nullptr && current->revision() == request.known_revision() &&
        current->updated_at_us() == request.known_updated_at_us()) {
      sent_ = current;
    }
    log::Info("configuration: {} watches, has revision {}", name_, request.known_revision());
    subscription_ = source.Subscribe([this](const WorkspacePtr& workspace) { Offer(workspace); });
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(mu_);
    writing_ = false;
    if (!ok || cancelled_) return EndLocked(grpc::Status(grpc::StatusCode::CANCELLED, "gone"));
    WriteNextLocked();
  }
  void OnCancel() override {
    MutexLock lock(mu_);
    cancelled_ = true;
    if (!writing_) EndLocked(grpc::Status(grpc::StatusCode::CANCELLED, "gone"));
  }
  void OnDone() override {
    subscription_.reset();  // no call of Offer is running or will come
    log::Info("configuration: {} has left", name_);
    delete this;
  }

 private:
  void Offer(const WorkspacePtr& workspace) {
    MutexLock lock(mu_);
    latest_ = workspace;
    if (!writing_ && !ended_) WriteNextLocked();
  }

  void WriteNextLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (latest_ == nullptr || latest_ == sent_) return;
    response_.Clear();
    response_.set_revision(latest_->revision());
    response_.set_accepted(accepted_);
    if (sent_ == nullptr || !takes_lists_)
      *response_.mutable_snapshot() = *latest_;
    else
      *response_.mutable_delta() = config::MakeDelta(*sent_, *latest_);
    sent_ = latest_;
    writing_ = true;
    StartWrite(&response_);
  }

  void EndLocked(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (std::exchange(ended_, true)) return;
    Finish(status);
  }

  const std::string name_;
  const bool takes_lists_;
  const bool accepted_;  // in place of what it holds, of which it is no successor
  std::shared_ptr<void> subscription_;
  Mutex mu_;
  WorkspacePtr latest_ ABSL_GUARDED_BY(mu_);
  WorkspacePtr sent_ ABSL_GUARDED_BY(mu_);
  WatchResponse response_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

/// Ends a stream at once.
class Refusal final : public grpc::ServerWriteReactor<WatchResponse> {
 public:
  explicit Refusal(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

class ConfigServerImpl final : public ConfigServer,
                               public config::v1::ConfigService::CallbackService {
 public:
  ConfigServerImpl(std::string token, config::ConfigSource& source, DescentOf descent)
      : expected_("Bearer " + std::move(token)), source_(source), descent_(std::move(descent)) {}

  ~ConfigServerImpl() override {
    if (server_ == nullptr) return;
    // Streams never end by themselves: a deadline that has passed cancels them.
    server_->Shutdown(std::chrono::system_clock::time_point::min());
    server_->Wait();
  }

  Status Listen(const std::string& address, grpc::Service* other) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
    builder.RegisterService(this);
    if (other != nullptr) builder.RegisterService(other);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0) {
      return Error(StatusCode::kFailedPrecondition,
                   "control_plane.grpc_address: cannot listen on {}; is the port in use?", address);
    }
    return OkStatus();
  }

  int port() const override { return port_; }

  grpc::ServerWriteReactor<WatchResponse>* Watch(grpc::CallbackServerContext* context,
                                                 const WatchRequest* request) override {
    const auto& metadata = context->client_metadata();
    const auto given = metadata.find("authorization");
    if (given == metadata.end() ||
        !ConstantTimeEqual({given->second.data(), given->second.size()}, expected_)) {
      log::Warning("configuration: {}/{} at {} brings no valid service token", request->service(),
                   request->instance(), context->peer());
      return new Refusal(grpc::Status(grpc::StatusCode::UNAUTHENTICATED,
                                      "the service token is not that of the file service-token in "
                                      "the control plane's data folder"));
    }
    const auto descent = descent_ ? descent_(HeldBy(*request)) : Descent::kSuccessor;
    if (!descent.ok()) {
      return new Refusal(
          grpc::Status(grpc::StatusCode::UNAVAILABLE, std::string(Message(descent.status()))));
    }
    if (!Admit(*request, *descent)) {
      return new Refusal(grpc::Status(
          grpc::StatusCode::FAILED_PRECONDITION,
          "its store was emptied, restored or exchanged, and its configuration is no successor of "
          "the one that is held; look at it, then 'millrace accept-store' there"));
    }
    return new Watcher(source_, *request, *descent == Descent::kAccepted);
  }

  std::vector<HeldBack> held_back() const override {
    MutexLock lock(mu_);
    std::vector<HeldBack> all;
    for (const auto& [service, held] : held_back_) all.push_back({service, held});
    return all;
  }

 private:
  static config::v1::HeldConfiguration HeldBy(const WatchRequest& request) {
    if (request.has_held()) return request.held();
    config::v1::HeldConfiguration held;  // of a version that does not say all
    held.set_revision(request.known_revision());
    held.set_updated_at_us(request.known_updated_at_us());
    return held;
  }

  /// Notes the watcher's state; whether it may be told the configuration.
  bool Admit(const WatchRequest& request, Descent descent) {
    const std::string name = request.service() + "/" + request.instance();
    MutexLock lock(mu_);
    if (descent != Descent::kForeign) {
      held_back_.erase(name);
      return true;
    }
    if (held_back_.size() >= kMaxHeldBack && !held_back_.contains(name)) return false;
    if (held_back_.insert_or_assign(name, HeldBy(request)).second) {
      log::Warning(
          "configuration: {} holds revision {}, of which the one here is no successor, and keeps "
          "it. Was the store emptied, restored or exchanged? If it is right, allow it by 'millrace "
          "accept-store'",
          name, HeldBy(request).revision());
    }
    return false;
  }

  static constexpr size_t kMaxHeldBack = 1000;

  const std::string expected_;
  config::ConfigSource& source_;
  const DescentOf descent_;
  mutable Mutex mu_;
  std::map<std::string, config::v1::HeldConfiguration> held_back_ ABSL_GUARDED_BY(mu_);
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

StatusOr<std::unique_ptr<ConfigServer>> ConfigServer::Start(const std::string& address,
                                                            std::string token,
                                                            config::ConfigSource& source,
                                                            grpc::Service* other,
                                                            DescentOf descent) {
  auto server = std::make_unique<ConfigServerImpl>(std::move(token), source, std::move(descent));
  MR_RETURN_IF_ERROR(server->Listen(address, other));
  return server;
}

}  // namespace millrace::control_plane
