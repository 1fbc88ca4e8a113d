#pragma once

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <string>
#include <vector>

#include "libs/http/server.h"
#include "services/control-plane/script_test_run.h"
#include "services/control-plane/scripts.h"
#include "services/control-plane/task_thread.h"

namespace millrace::control_plane {

/// The threads on which calls that run scripts wait, so that none holds up the others.
struct ScriptThreads {
  TaskThread checks{"script-checks", 64};
  TaskThread tests{"script-tests", 8};
};

/// REST over Scripts and ScriptTestRun: /api/v1/transformations, /api/v1/libraries,
/// /api/v1/credentials. One thread calls Handle; what may take long is answered from another.
class ScriptRoutes {
 public:
  ScriptRoutes(Scripts& scripts, ScriptTestRun& tests, ScriptThreads& threads)
      : scripts_(scripts), tests_(tests), threads_(threads) {}

  /// Whether the path is one of these. Then the answer was, or will be, given.
  bool Handle(const http::Request& request, const http::Responder& responder);

 private:
  using Path = std::vector<std::string>;  // below /api/v1/, decoded
  StatusOr<nlohmann::json> Route(const http::Request& request, const Path& path,
                                 const std::stop_token& stop);
  StatusOr<nlohmann::json> RouteCredentials(const http::Request& request, const Path& path);
  StatusOr<nlohmann::json> RouteAll(const http::Request& request, config::v1::ScriptType type);
  StatusOr<nlohmann::json> RouteOne(const http::Request& request, config::v1::ScriptType type,
                                    const std::string& id);
  StatusOr<nlohmann::json> RoutePart(const http::Request& request, config::v1::ScriptType type,
                                     const Path& path, const std::stop_token& stop);
  StatusOr<nlohmann::json> Publish(const http::Request& request, config::v1::ScriptType type,
                                   const std::string& id);
  StatusOr<nlohmann::json> PublishMany(const http::Request& request);
  StatusOr<nlohmann::json> Shadow(const http::Request& request, const std::string& id);
  StatusOr<nlohmann::json> Test(const http::Request& request, const std::string& id,
                                const std::stop_token& stop);

  Scripts& scripts_;
  ScriptTestRun& tests_;
  ScriptThreads& threads_;
};

}  // namespace millrace::control_plane
