#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/config/watch_client.h"
#include "libs/event_log/event_log.h"
#include "libs/http/server.h"
#include "libs/service/lag_reporter.h"
#include "libs/service/metrics_page.h"
#include "libs/service/start_guard.h"
#include "libs/telemetry/metrics.h"
#include "millrace/settings/v1/process.pb.h"

namespace millrace::service {

inline constexpr std::chrono::milliseconds kDrainTimeout{10'000};

/// What every service's main has: settings, log, metrics, the watched workspace, an HTTP address.
/// Made by Main, which owns it; one thread calls its methods.
class Process {
 public:
  Process(std::string_view service, settings::v1::ProcessSettings settings)
      : service_(service), settings_(std::move(settings)) {}
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  settings::v1::ProcessSettings& settings() { return settings_; }
  /// Unique among the service's instances: the setting, or the machine's name.
  const std::string& instance() const { return settings_.instance(); }
  Clock& clock() { return SystemClock(); }
  telemetry::Metrics& metrics() { return metrics_; }
  event_log::EventLog& log() { return *log_; }
  config::ConfigSource& workspace() { return *watch_; }

  /// Opens the event log.
  Status OpenLog();
  /// Watches the control plane; its absence is no error while a snapshot is on disk.
  Status Watch();
  /// Keeps the metrics of how far `group` is behind the log. Before Serve.
  void ReportLag(const std::string& group);
  /// Listens on the HTTP address: /metrics, /health, /health/live and /health/ready here, all else
  /// to `handler` (none: 404).
  Status Serve(http::ServerOptions options, http::Handler handler, std::function<bool()> ready);
  /// Says that the service is up, and waits for SIGTERM or SIGINT. One that comes before ends the
  /// process at once: it may be waiting for the log or the control plane, and has taken nothing.
  void WaitForEnd();
  /// Refuses new requests and ends those under way.
  void StopServing();

 private:
  const std::string service_;
  settings::v1::ProcessSettings settings_;
  telemetry::Metrics metrics_;
  std::unique_ptr<event_log::EventLog> log_;
  StartGuard starting_;
  std::unique_ptr<config::WatchClient> watch_;
  std::unique_ptr<LagReporter> lag_;
  std::unique_ptr<MetricsPage> metrics_page_;
  std::unique_ptr<http::Server> server_;
};

/// The body of a service's main: arguments, settings (unknown key = error with its path), log, then
/// `run`. Gives the exit code; a failure is one line on standard error.
int Main(std::string_view service, std::string_view purpose, int argc, char** argv,
         const std::function<Status(Process&)>& run);

}  // namespace millrace::service
