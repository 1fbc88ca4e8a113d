#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/config/config_source.h"
#include "libs/event_log/event_log.h"
#include "libs/http/server.h"
#include "libs/telemetry/metrics.h"
#include "millrace/settings/v1/gateway.pb.h"
#include "services/gateway/acceptance.h"
#include "services/gateway/body_workers.h"
#include "services/gateway/sources.h"

namespace millrace::gateway {

/// What the gateway uses; all of it outlives the gateway.
struct Deps {
  event_log::EventLog& log;
  config::ConfigSource& config;
  telemetry::Metrics& metrics;
  Clock& clock = SystemClock();
  /// The appender to use instead of one of `log`, e.g. one that spills.
  std::unique_ptr<event_log::Appender> appender = nullptr;
  /// Whether events of the source are refused for now (503), e.g. as a destination of it has used
  /// up its share of the log. Asked for each request, by any thread. None: never.
  std::function<bool(const SourceEntry&)> refuses = nullptr;
  /// Name of this instance, for the numbers of its records (EventMeta.gateway).
  std::string instance = "gateway";
  /// See SequencedAppender::Options.
  bool whole_appends = false;
};

/// The ingestion API: RudderStack's and Segment's paths, answered as their SDKs expect. An event is
/// acknowledged when the log has it, never before.
///
/// Thread-safety: all methods may be called from any thread. Destroy it after the HTTP server that
/// calls Handle.
class Gateway {
 public:
  /// Errors: kNotFound when the log has no topic `ingest`; those of the log.
  static StatusOr<std::unique_ptr<Gateway>> Create(const settings::v1::GatewaySettings& settings,
                                                   Deps deps);
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;
  ~Gateway();

  /// Answers one request. An http::Handler.
  void Handle(http::Request request, http::Responder responder);
  /// Whether a workspace has come and requests are taken. False too after 5 s in which the log took
  /// nothing of what it was given.
  bool Ready() const;
  /// Waits until every request under way is answered; false after `deadline`. From now on Ready()
  /// is false, so that load balancers turn away; requests that still come are served.
  bool Drain(std::chrono::milliseconds deadline);

  /// For the gRPC service: takes `events` for `write_key` and calls `done` once, from any thread.
  /// OK: all are durable. Errors: kUnauthenticated (unknown key), kFailedPrecondition (disabled
  /// source), kInvalidArgument (no events, or too many), kUnavailable (Deps::refuses), and those of
  /// Appender::Append.
  struct Taken {
    uint32_t accepted = 0;
    uint32_t rejected = 0;
  };
  using TakenDone = std::function<void(Status, Taken)>;
  void TakeEvents(std::string_view write_key, std::span<const std::string_view> events,
                  std::string_view remote_ip, TakenDone done);

  /// The HTTP server's options that the settings ask for.
  static http::ServerOptions ServerOptionsOf(const settings::v1::GatewaySettings& settings);

 private:
  struct Route;
  struct Call;
  Gateway(const settings::v1::GatewaySettings& settings, const Deps& deps);

  void Ingest(const Route& route, http::Request request, Call call);
  void IngestLater(const Route& route, http::Request request,
                   std::shared_ptr<const SourceEntry> source, Call call);
  void IngestLarge(const Route& route, const http::Request& request,
                   std::shared_ptr<const SourceEntry> source, Call call);
  void IngestBody(const Route& route, const http::Request& request, std::string_view body,
                  std::shared_ptr<const SourceEntry> source, Call call);
  void Append(Acceptance& acceptance, std::shared_ptr<const SourceEntry> source, Call call);
  void Answer(const Call& call, int status, std::string_view body) const;
  void AnswerWith(const Call& call, http::Response response) const;
  bool TurnedAway(const SourceEntry* source, const Call& call) const;
  void AnswerTooMany(const Call& call) const;
  void SourceConfig(const http::Request& request, const Call& call) const;
  void ProjectSettings(const http::Request& request, std::string_view write_key,
                       const Call& call) const;
  void Enter();
  void Leave();
  void NoteAppend(bool taken);
  void CountEvents(const SourceEntry& source, const Taken& taken, uint32_t repaired) const;
  std::string_view RemoteIp(const http::Request& request) const;

  const size_t max_body_bytes_;
  const size_t max_event_bytes_;
  const size_t max_event_keys_;
  const size_t max_batch_events_;
  const bool trust_forwarded_for_;
  const std::function<bool(const SourceEntry&)> refuses_;
  Clock& clock_;
  telemetry::Metrics& metrics_;
  telemetry::Histogram& duration_;
  Sources sources_;
  mutable std::atomic<telemetry::Counter*> requests_by_status_[600] = {};
  std::atomic<bool> draining_{false};
  std::atomic<int64_t> running_{0};
  // Monotonic microseconds; 0: the last append was taken.
  std::atomic<int64_t> refusing_since_us_{0};
  std::atomic<int64_t> refused_at_us_{0};
  Mutex mu_;
  std::condition_variable idle_;
  std::unique_ptr<event_log::Appender> appender_;  // its callbacks use what is above
  std::unique_ptr<BodyWorkers> workers_;           // last: they use the rest
};

}  // namespace millrace::gateway
