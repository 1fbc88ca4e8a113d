#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/base/snapshot.h"
#include "libs/base/string_map.h"
#include "libs/config/config_source.h"
#include "libs/event_log/event_log.h"
#include "libs/http/server.h"
#include "libs/telemetry/metrics.h"
#include "millrace/settings/v1/gateway.pb.h"
#include "services/gateway/acceptance.h"

namespace millrace::gateway {

struct Deps {
  event_log::EventLog& log;
  config::ConfigSource& workspace;
  telemetry::Metrics& metrics;
  Clock& clock;
  int ingest_partitions = 4;  // of topic `ingest`, when it is not there yet
};

/// Takes events over HTTP: finds the source by its write key, checks structure, appends to topic
/// `ingest`, and answers once that is durable. Paths, status codes and bodies are RudderStack's and
/// Segment's, so that their SDKs work unmodified.
///
/// Owned by main. Handle may be called from any thread and does not block.
class Gateway {
 public:
  static StatusOr<std::unique_ptr<Gateway>> Create(const settings::v1::GatewaySettings& settings,
                                                   Deps deps);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  void Handle(http::Request request, http::Responder responder);
  /// Whether events would be taken now: there is a configuration.
  bool Ready() const { return deps_.workspace.Current() != nullptr; }
  /// Waits until what was taken is answered. False: `deadline` came first.
  bool Drain(std::chrono::milliseconds deadline);

 private:
  struct SourceEntry {
    std::string workspace_id;
    std::string source_id;
    bool enabled = false;
    telemetry::Counter* accepted = nullptr;
    telemetry::Counter* rejected = nullptr;
    telemetry::Counter* repaired = nullptr;
  };
  struct WriteKeys {
    StringMap<SourceEntry> by_key;
  };

  Gateway(const settings::v1::GatewaySettings& settings, Deps deps);
  void OnWorkspace(const config::WorkspacePtr& workspace);
  void HandleEvents(const http::Request& request, const RequestInfo& info,
                    const http::Responder& responder);
  void Append(const SourceEntry& source, Acceptance& acceptance, http::Headers cors,
              const http::Responder& responder);
  void Answer(const http::Responder& responder, int status, std::string_view body,
              http::Headers headers);

  const Deps deps_;
  const Limits limits_;
  const size_t max_body_bytes_;
  const bool trust_forwarded_for_;
  Snapshot<WriteKeys> write_keys_;
  std::unique_ptr<event_log::Appender> appender_;
  std::atomic<int64_t> in_flight_{0};
  std::shared_ptr<void> subscription_;
};

}  // namespace millrace::gateway
