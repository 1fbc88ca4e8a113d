#include "libs/config/watch_client.h"

#include <grpcpp/grpcpp.h>
#include <pthread.h>

#include <condition_variable>
#include <thread>
#include <utility>

#include "libs/base/file.h"
#include "libs/base/hash.h"
#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/config/local_source.h"
#include "libs/config/workspace_delta.h"
#include "millrace/config/v1/config_service.grpc.pb.h"

namespace millrace::config {
namespace {

constexpr size_t kChecksumSize = 64;  // hex of SHA-256, before the message

/// The snapshot of the disk, null when there is none or it is damaged.
WorkspacePtr ReadCache(const std::string& path) {
  const auto text = ReadFile(path);
  if (!text.ok()) {
    if (text.status().code() != StatusCode::kNotFound) {
      log::Warning("last configuration: {}", Message(text.status()));
    }
    return nullptr;
  }
  auto workspace = std::make_shared<v1::Workspace>();
  if (text->size() < kChecksumSize ||
      Sha256Hex(std::string_view(*text).substr(kChecksumSize)) != text->substr(0, kChecksumSize) ||
      !workspace->ParseFromString(text->substr(kChecksumSize))) {
    log::Warning("last configuration: {} is damaged; waiting for the control plane", path);
    return nullptr;
  }
  return workspace;
}

class WatchClientImpl final : public WatchClient {
 public:
  explicit WatchClientImpl(WatchOptions options)
      : options_(std::move(options)), cache_path_(options_.cache_dir + "/workspace.bin") {
    if (options_.metrics == nullptr) return;
    gauge_ = &options_.metrics->GetGauge(
        "millrace_configuration_held_back",
        "1 while the control plane's configuration is no successor of the one in force and is not "
        "taken.");
  }

  ~WatchClientImpl() override {
    thread_.request_stop();
    {
      MutexLock lock(mu_);
      if (context_ != nullptr) context_->TryCancel();
    }
    if (thread_.joinable()) thread_.join();
  }

  void Begin() {
    if (WorkspacePtr cached = ReadCache(cache_path_); cached != nullptr) {
      log::Info("configuration: revision {} from the disk", cached->revision());
      source_.Set(std::move(cached));
    }
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  }

  WorkspacePtr Current() const override { return source_.Current(); }
  std::shared_ptr<void> Subscribe(std::function<void(WorkspacePtr)> listener) override {
    return source_.Subscribe(std::move(listener));
  }

  Status WaitForSnapshot(std::chrono::milliseconds timeout) override {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    MutexLock lock(mu_);
    while (source_.Current() == nullptr) {
      if (changed_.wait_until(lock.native(), deadline) == std::cv_status::timeout &&
          source_.Current() == nullptr) {
        return Error(
            StatusCode::kUnavailable,
            "no configuration yet: the control plane at {} {}; see control_plane_client.address "
            "and .token_file",
            options_.address, last_fault_.empty() ? "does not answer" : last_fault_);
      }
    }
    return OkStatus();
  }

  std::string HeldBack() const override {
    MutexLock lock(mu_);
    return held_back_;
  }

 private:
  void Run(const std::stop_token& stop) {
    pthread_setname_np(pthread_self(), "config-watch");
    grpc::ChannelArguments arguments;
    // A control plane that vanished without a word is found out within 40 s.
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
                     static_cast<int>(options_.backoff.maximum.count()));
    arguments.SetMaxReceiveMessageSize(256 << 20);
    const auto stub = v1::ConfigService::NewStub(
        grpc::CreateCustomChannel(options_.address, grpc::InsecureChannelCredentials(), arguments));
    for (uint32_t attempt = 1; !stop.stop_requested(); ++attempt) {
      if (WatchOnce(*stub, stop)) attempt = 1;
      if (stop.stop_requested()) return;
      std::mutex mu;
      std::condition_variable_any wake;
      std::unique_lock lock(mu);
      wake.wait_for(lock, stop, BackoffDelay(options_.backoff, attempt, FastRandom()),
                    [] { return false; });
    }
  }

  /// One stream, from its beginning to its end; whether anything came.
  bool WatchOnce(v1::ConfigService::Stub& stub, const std::stop_token& stop) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + options_.token);
    {
      MutexLock lock(mu_);
      if (stop.stop_requested()) return false;
      context_ = &context;
    }
    v1::WatchRequest request;
    request.set_service(options_.service);
    request.set_instance(options_.instance);
    request.set_takes_lists(true);
    if (const WorkspacePtr held = source_.Current(); held != nullptr) {
      request.mutable_held()->set_store_id(held->store_id());
      request.mutable_held()->set_revision(held->revision());
      request.mutable_held()->set_updated_at_us(held->updated_at_us());
      if (!ask_for_snapshot_) {
        request.set_known_revision(held->revision());
        request.set_known_updated_at_us(held->updated_at_us());
      }
    }
    ask_for_snapshot_ = false;
    const auto reader = stub.Watch(&context, request);
    bool came = false;
    v1::WatchResponse response;
    while (reader->Read(&response)) {
      came = true;
      const Status status = Take(response);
      if (status.ok()) {
        SetHeldBack("");
        continue;
      }
      if (!HeldBack().empty()) {
        context.TryCancel();
        came = false;  // so that it is asked less and less often
        continue;
      }
      log::Warning("configuration: {}; asking for all of it", Message(status));
      ask_for_snapshot_ = true;
      context.TryCancel();
    }
    const grpc::Status end = reader->Finish();
    if (end.error_code() == grpc::StatusCode::FAILED_PRECONDITION) SetHeldBack(end.error_message());
    MutexLock lock(mu_);
    context_ = nullptr;
    if (stop.stop_requested()) return came;
    const std::string fault = end.ok() ? "ended the stream" : "answers: " + end.error_message();
    if (fault != last_fault_) log::Warning("the control plane at {} {}", options_.address, fault);
    last_fault_ = fault;
    return came;
  }

  /// The service goes on with what it holds; said once, and shown.
  void SetHeldBack(const std::string& why) {
    MutexLock lock(mu_);
    if (why == held_back_) return;
    if (!why.empty()) {
      log::Error("the configuration of the control plane at {} is not taken: {}", options_.address,
                 why);
    } else {
      log::Info("the configuration of the control plane at {} is taken again", options_.address);
    }
    held_back_ = why;
    if (gauge_ != nullptr) gauge_->Set(why.empty() ? 0 : 1);
  }

  /// Whether a snapshot must not take the place of what is held, although the control plane sent
  /// it.
  static bool IsForeign(const v1::Workspace* held, const v1::WatchResponse& response) {
    const v1::Workspace& next = response.snapshot();
    if (held == nullptr || response.accepted() || next.store_id().empty()) return false;
    if (held->store_id().empty()) return false;
    return next.store_id() != held->store_id() || next.revision() < held->revision();
  }

  Status Take(const v1::WatchResponse& response) {
    auto next = std::make_shared<v1::Workspace>();
    const WorkspacePtr held = source_.Current();
    if (response.has_snapshot()) {
      if (IsForeign(held.get(), response)) {
        SetHeldBack("it is of another store, or older than the one held");
        return MakeStatus(StatusCode::kFailedPrecondition, "a foreign configuration");
      }
      *next = response.snapshot();
    } else if (response.has_delta()) {
      if (held == nullptr) {
        return MakeStatus(StatusCode::kFailedPrecondition, "a change came before any snapshot");
      }
      MR_ASSIGN_OR_RETURN(*next, ApplyDelta(*held, response.delta()));
    } else {
      return OkStatus();
    }
    const std::string bytes = next->SerializeAsString();
    // The configuration holds secrets, so nobody else may read the file. A disk that fails does not
    // stop the service: it goes on with what it was told.
    const Status written = WriteFileAtomically(cache_path_, Sha256Hex(bytes) + bytes, 0600);
    if (!written.ok()) log::Warning("keeping the configuration: {}", Message(written));
    log::Info("configuration: revision {} of the control plane", next->revision());
    source_.Set(std::move(next));
    MutexLock lock(mu_);
    last_fault_.clear();
    changed_.notify_all();
    return OkStatus();
  }

  const WatchOptions options_;
  const std::string cache_path_;
  telemetry::Gauge* gauge_ = nullptr;
  LocalSource source_;
  bool ask_for_snapshot_ = false;  // the watching thread's
  mutable Mutex mu_;
  std::condition_variable changed_;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::string last_fault_ ABSL_GUARDED_BY(mu_);
  std::string held_back_ ABSL_GUARDED_BY(mu_);
  std::jthread thread_;
};

}  // namespace

StatusOr<WatchOptions> MakeWatchOptions(const settings::v1::ControlPlaneClientSettings& settings,
                                        const std::string& data_dir, const std::string& service,
                                        const std::string& instance) {
  if (settings.address().empty()) {
    return MakeStatus(
        StatusCode::kInvalidArgument,
        "control_plane_client.address is not set; give host:port of the control plane");
  }
  std::string token = settings.token();
  if (token.empty()) {
    if (settings.token_file().empty()) {
      return MakeStatus(
          StatusCode::kInvalidArgument,
          "control_plane_client.token_file is not set; name a copy of the control plane's "
          "file service-token");
    }
    auto text = ReadFile(settings.token_file());
    if (!text.ok()) return Annotate(text.status(), "control_plane_client.token_file");
    token = text->substr(0, text->find_first_of("\r\n"));
  }
  return WatchOptions{
      .address = settings.address(),
      .token = std::move(token),
      .cache_dir = settings.cache_dir().empty() ? data_dir + "/config" : settings.cache_dir(),
      .service = service,
      .instance = instance};
}

StatusOr<std::unique_ptr<WatchClient>> WatchClient::Start(WatchOptions options) {
  MR_RETURN_IF_ERROR(MakeFolders(options.cache_dir));
  auto client = std::make_unique<WatchClientImpl>(std::move(options));
  client->Begin();
  return client;
}

}  // namespace millrace::config
