#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "libs/base/bytes.h"
#include "libs/base/mutex.h"
#include "libs/http/server.h"
#include "libs/telemetry/metrics.h"

namespace millrace::service {

/// Answers /metrics from a thread of its own: with many series a rendering takes its time. One
/// rendering serves all who asked before it began, and for ten times as long as it took those who
/// ask after it; while clients have left four older ones unread, nobody gets a new one, so that
/// they cost no memory.
///
/// Thread-safety: all methods may be called from any thread. Owned by main; `metrics` outlives it,
/// and the server that calls it ends before it.
class MetricsPage {
 public:
  explicit MetricsPage(telemetry::Metrics& metrics);
  /// Requests that still wait get no answer (500).
  ~MetricsPage();
  MetricsPage(const MetricsPage&) = delete;
  MetricsPage& operator=(const MetricsPage&) = delete;

  /// Whether the request is one for the page.
  static bool Wants(const http::Request& request);
  void Answer(http::Responder responder);

  /// Keeps the gauges of the server and of the process's descriptors. Before the first Answer; the
  /// server lives until Forget or the page's end.
  void Watch(const http::Server& server);
  void Forget();

 private:
  void Run();
  Bytes Page();

  telemetry::Metrics& metrics_;
  std::shared_ptr<void> collector_;
  Mutex mu_;
  std::condition_variable changed_;
  std::vector<http::Responder> waiting_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // Of the thread alone.
  Bytes page_;
  std::chrono::steady_clock::time_point good_until_{};
  std::vector<std::weak_ptr<const void>> unread_;  // older pages that a client has not read whole
  std::thread thread_;
};

}  // namespace millrace::service
