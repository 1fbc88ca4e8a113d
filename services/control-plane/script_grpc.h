#pragma once

#include <memory>
#include <string>

#include "services/control-plane/script_routes.h"

namespace grpc {
class Service;
}

namespace millrace::control_plane {

/// config.v1.TransformationService over Scripts and ScriptTestRun, for callers that bring the API
/// token. Calls run on `threads`, which must end after the server that the service is registered
/// with.
std::unique_ptr<grpc::Service> MakeScriptService(Scripts& scripts, ScriptTestRun& tests,
                                                 ScriptThreads& threads, const std::string& token);

}  // namespace millrace::control_plane
