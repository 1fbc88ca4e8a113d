#pragma once

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/config/local_source.h"
#include "libs/event_log/event_log.h"
#include "libs/http/server.h"
#include "services/control-plane/config_service.h"
#include "services/control-plane/dead_letters.h"
#include "services/control-plane/destinations.h"
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
  TopicKeeper& topics;
  std::function<std::vector<HeldBack>()> held_back;
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
        destinations_(deps_.log, deps_.clock, deps_.store, deps_.reader, deps_.topics),
        tails_(deps_.log) {}

  void Handle(const http::Request& request, const http::Responder& responder);
  /// Ends the streams that are open.
  void Stop() {
    waiting_.Stop();
    tailing_.Stop();
    tails_.Stop();
  }

 private:
  struct ApplyOptions {
    bool dry_run = false;
    bool prune = false;
    bool give_up_waiting = false;
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
  /// A part of the workspace's document as answers have it.
  StatusOr<nlohmann::json> ListOf(const std::string& kind);
  /// Lets the services that keep another store's configuration take this one.
  StatusOr<nlohmann::json> AcceptStore();
  StatusOr<nlohmann::json> GiveUp(const std::string& id, const nlohmann::json& body, bool dry_run);
  /// Puts the change in force, unless nothing changed; the answer holds the plan.
  StatusOr<nlohmann::json> Settle(const std::vector<PlannedChange>& plan, ScriptDraft* draft,
                                  const ApplyOptions& options);
  StatusOr<nlohmann::json> DeleteLeftOver(const std::string& id, const ApplyOptions& options);
  /// The plan as answers have it. kFailedPrecondition: it deletes what it must not.
  StatusOr<nlohmann::json> PlanJson(const std::vector<PlannedChange>& plan,
                                    const ApplyOptions& options);
  Status CheckCode(ScriptDraft* draft);
  StatusOr<nlohmann::json> AuditNow();
  StatusOr<nlohmann::json> ListDeadLetters(const http::Request& request);
  StatusOr<nlohmann::json> Redrive(const nlohmann::json& body);
  /// The id of the destination with this id or name; "" for "".
  StatusOr<std::string> DestinationId(const std::string& id_or_name);

  const ApiDeps deps_;
  DeadLetters letters_;
  Destinations destinations_;
  Tails tails_;
  TaskThread tailing_{"api-tail", 16};  // the only one that uses tails_
  TaskThread waiting_{"api-log", 64};   // the only one that uses letters_
};

}  // namespace millrace::control_plane
