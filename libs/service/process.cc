#include "libs/service/process.h"

#include <iostream>
#include <utility>

#include "libs/base/file.h"
#include "libs/base/log.h"
#include "libs/config/settings.h"
#include "libs/service/open_log.h"
#include "libs/service/outbound.h"
#include "libs/service/run.h"

namespace millrace::service {
namespace {

constexpr std::chrono::milliseconds kFirstSnapshot{30'000};

Status Prepare(std::string_view service, const Arguments& arguments,
               settings::v1::ProcessSettings* settings) {
  MR_RETURN_IF_ERROR(config::LoadSettings(arguments.config_path, "MILLRACE", Environment(),
                                          arguments.overrides, settings));
  MR_RETURN_IF_ERROR(SetUpProcess(service, settings->telemetry()));
  if (settings->data_dir().empty()) settings->set_data_dir("millrace-data");
  if (settings->listen().empty()) settings->set_listen("127.0.0.1:8080");
  settings->set_instance(InstanceName(*settings));
  MR_RETURN_IF_ERROR(ShareAllowedNetworks(*settings));
  return MakeFolders(settings->data_dir());
}

}  // namespace

Process::~Process() {
  StopServing();
}

Status Process::OpenLog() {
  MR_ASSIGN_OR_RETURN(log_,
                      OpenEventLog(settings_.event_log(), settings_.data_dir(), SystemClock()));
  return OkStatus();
}

Status Process::Watch() {
  const std::string short_name = service_.substr(service_.find('-') + 1);
  MR_ASSIGN_OR_RETURN(
      auto options, config::MakeWatchOptions(settings_.control_plane_client(), settings_.data_dir(),
                                             short_name, instance()));
  options.metrics = &metrics_;
  MR_ASSIGN_OR_RETURN(watch_, config::WatchClient::Start(std::move(options)));
  return watch_->WaitForSnapshot(kFirstSnapshot);
}

void Process::ReportLag(const std::string& group) {
  lag_ = std::make_unique<LagReporter>(
      LagReporter::Options{
          .groups = {group},
          .log_folder = LocalLogFolder(settings_.event_log(), settings_.data_dir())},
      *log_, metrics_);
  lag_->Start();
}

Status Process::Serve(http::ServerOptions options, http::Handler handler,
                      std::function<bool()> ready) {
  MR_ASSIGN_OR_RETURN(const auto listen, ParseListenAddress(settings_.listen()));
  options.address = listen.host;
  options.port = listen.port;
  options.first_reserved_descriptor = FirstReservedDescriptor();
  metrics_page_ = std::make_unique<MetricsPage>(metrics_);
  MR_ASSIGN_OR_RETURN(
      server_,
      http::Server::Start(options, [this, handler = std::move(handler), ready = std::move(ready)](
                                       http::Request request, http::Responder responder) {
        if (MetricsPage::Wants(request)) return metrics_page_->Answer(std::move(responder));
        if (request.path == "/health/ready" && !ready()) {
          return responder.Send({.status = 503, .body = "not ready\n"});
        }
        if (request.path.rfind("/health", 0) == 0) {
          const std::string held_back = watch_ == nullptr ? "" : watch_->HeldBack();
          return responder.Send(
              {.body =
                   held_back.empty() ? "ok" : "ok; the configuration is an old one: " + held_back});
        }
        if (handler) return handler(std::move(request), std::move(responder));
        responder.Send({.status = 404, .body = "not found\n"});
      }));
  metrics_page_->Watch(*server_);
  return OkStatus();
}

void Process::WaitForEnd() {
  starting_.End();
  log::Info("ready: http://{}, instance {}", settings_.listen(), instance());
  log::Info("{}: draining", WaitForSignal());
}

void Process::StopServing() {
  if (metrics_page_ != nullptr) metrics_page_->Forget();
  if (server_ != nullptr) server_->Stop(kDrainTimeout);
  server_.reset();
}

int Main(std::string_view service, std::string_view purpose, int argc, char** argv,
         const std::function<Status(Process&)>& run) {
  const auto arguments = ParseArguments(argc, argv);
  if (!arguments.ok()) return Exit(service, arguments.status());
  if (arguments->help) {
    std::cout << HelpText(service, purpose);
    return 0;
  }
  if (arguments->version) {
    std::cout << service << " " MILLRACE_VERSION "\n";
    return 0;
  }
  BlockSignals();
  settings::v1::ProcessSettings settings;
  Status status = Prepare(service, *arguments, &settings);
  if (status.ok()) {
    Process process(service, std::move(settings));
    status = process.OpenLog();
    if (status.ok()) status = run(process);
    if (status.ok()) log::Info("stopped");
  }
  return Exit(service, status);
}

}  // namespace millrace::service
