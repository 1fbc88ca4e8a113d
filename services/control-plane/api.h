#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/config/local_source.h"
#include "libs/event_log/event_log.h"
#include "libs/http/server.h"
#include "services/control-plane/dead_letters.h"
#include "services/control-plane/log_reader.h"
#include "services/control-plane/script_routes.h"
#include "services/control-plane/store.h"
#include "services/control-plane/tail.h"
#include "services/control-plane/task_thread.h"
#include "services/control-plane/workspace_document.h"

namespace millrace::control_plane {

struct ApiDeps {
  event_log::EventLog& log;
  Clock& clock;
  Store& store;
  LogReader& reader;
  config::LocalSource& config;
  DestinationHooks destinations;
  const ScriptDeps& scripts;
  ScriptRoutes& script_routes;
  std::string token;  // of `Authorization: Bearer`
};

/// The REST API, /api/v1. One thread calls Handle, which may block on the store and the log.
///
/// What the API does to transformations, libraries and credentials is in ScriptRoutes. Answers are
/// JSON; a refusal is {"error": {"code", "message"}} with a message that says what, where and how
/// to mend it.
class Api {
 public:
  explicit Api(ApiDeps deps)
      : deps_(std::move(deps)),
        letters_(deps_.log, deps_.clock, deps_.store, deps_.reader),
        tails_(deps_.log) {}

  void Handle(const http::Request& request, const http::Responder& responder);
  /// Ends the streams that are open.
  void Stop() {
    waiting_.Stop();
    tails_.Stop();
  }

 private:
  struct ApplyOptions {
    bool dry_run = false;
    bool prune = false;
  };
  http::Response Answer(const http::Request& request);
  StatusOr<nlohmann::json> Route(const http::Request& request);
  StatusOr<nlohmann::json> RouteList(const http::Request& request, const std::string& kind,
                                     const ApplyOptions& options);
  StatusOr<nlohmann::json> RouteOne(const http::Request& request, const std::string& kind,
                                    const std::string& id, const ApplyOptions& options);
  StatusOr<nlohmann::json> Apply(const nlohmann::json& document, const ApplyOptions& options);
  StatusOr<nlohmann::json> Import(const nlohmann::json& workspace_config,
                                  const ApplyOptions& options);
  /// Puts the change in force, unless nothing changed; the answer holds the plan.
  StatusOr<nlohmann::json> Settle(const std::vector<PlannedChange>& plan, ScriptDraft* draft,
                                  bool dry_run);
  StatusOr<nlohmann::json> AuditNow();
  StatusOr<nlohmann::json> ListDeadLetters(const http::Request& request);
  StatusOr<nlohmann::json> Redrive(const nlohmann::json& body);
  /// The id of the destination with this id or name; "" for "".
  StatusOr<std::string> DestinationId(const std::string& id_or_name);

  const ApiDeps deps_;
  DeadLetters letters_;
  Tails tails_;
  TaskThread waiting_{"api-log", 64};  // the only one that uses letters_
};

}  // namespace millrace::control_plane
