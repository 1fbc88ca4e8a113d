#include "services/control-plane/script_grpc.h"

#include <grpcpp/grpcpp.h>

#include <string_view>
#include <utility>

#include "libs/base/hash.h"
#include "millrace/config/v1/transformation_service.grpc.pb.h"

namespace millrace::control_plane {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using namespace config::v1;  // every request and answer is of it

grpc::Status ToGrpc(const Status& status) {
  const auto faults = FaultsOf(status);
  return {static_cast<grpc::StatusCode>(status.code()), std::string(Message(status)),
          faults.faults().empty() ? std::string() : faults.SerializeAsString()};
}

class ScriptService final : public TransformationService::CallbackService {
 public:
  ScriptService(Scripts& scripts, ScriptTestRun& tests, ScriptThreads& threads,
                const std::string& token)
      : scripts_(scripts), tests_(tests), threads_(threads), expected_("Bearer " + token) {}

  ServerUnaryReactor* ListScripts(CallbackServerContext* context, const ListScriptsRequest* request,
                                  ListScriptsResponse* response) override {
    return Serve(context, request, response, &Scripts::List);
  }
  ServerUnaryReactor* GetScript(CallbackServerContext* context, const ScriptKey* request,
                                Script* response) override {
    return Serve(context, request, response, &Scripts::Get);
  }
  ServerUnaryReactor* CreateScript(CallbackServerContext* context, const SaveScriptRequest* request,
                                   ScriptResponse* response) override {
    return Serve(context, request, response, &Scripts::Create);
  }
  ServerUnaryReactor* UpdateScript(CallbackServerContext* context, const SaveScriptRequest* request,
                                   ScriptResponse* response) override {
    return Serve(context, request, response, &Scripts::Update);
  }
  ServerUnaryReactor* DeleteScript(CallbackServerContext* context, const ScriptKey* request,
                                   RevisionResponse* response) override {
    return Serve(context, request, response, &Scripts::Delete);
  }
  ServerUnaryReactor* ListVersions(CallbackServerContext* context, const ScriptKey* request,
                                   ListScriptVersionsResponse* response) override {
    return Serve(context, request, response, &Scripts::ListVersions);
  }
  ServerUnaryReactor* GetVersion(CallbackServerContext* context, const ScriptVersionKey* request,
                                 ScriptVersion* response) override {
    return Serve(context, request, response, &Scripts::GetVersion);
  }
  ServerUnaryReactor* Publish(CallbackServerContext* context, const PublishRequest* request,
                              PublishResponse* response) override {
    return Serve(context, request, response, &Scripts::Publish);
  }
  ServerUnaryReactor* Rollback(CallbackServerContext* context, const RollbackRequest* request,
                               PublishResponse* response) override {
    return Serve(context, request, response, &Scripts::Rollback);
  }
  ServerUnaryReactor* SetShadow(CallbackServerContext* context, const SetShadowRequest* request,
                                ScriptResponse* response) override {
    return Serve(context, request, response, &Scripts::SetShadow);
  }
  ServerUnaryReactor* ClearShadow(CallbackServerContext* context, const ScriptKey* request,
                                  ScriptResponse* response) override {
    return Serve(context, request, response, &Scripts::ClearShadow);
  }
  ServerUnaryReactor* GetReport(CallbackServerContext* context, const ScriptKey* request,
                                ScriptReport* response) override {
    return Serve(context, request, response, &Scripts::GetReport);
  }
  ServerUnaryReactor* ListCredentials(CallbackServerContext* context,
                                      const ListCredentialsRequest* request,
                                      ListCredentialsResponse* response) override {
    return Serve(context, request, response, &Scripts::ListCredentials);
  }
  ServerUnaryReactor* SetCredential(CallbackServerContext* context,
                                    const SetCredentialRequest* request,
                                    RevisionResponse* response) override {
    return Serve(context, request, response, &Scripts::SetCredential);
  }
  ServerUnaryReactor* DeleteCredential(CallbackServerContext* context, const CredentialKey* request,
                                       RevisionResponse* response) override {
    return Serve(context, request, response, &Scripts::DeleteCredential);
  }
  ServerUnaryReactor* Test(CallbackServerContext* context, const TestRequest* request,
                           TestResponse* response) override {
    return Post(context, threads_.tests, response, [this, request](const std::stop_token& stop) {
      return tests_.Run(*request, stop);
    });
  }

 private:
  template <typename Request, typename Response>
  ServerUnaryReactor* Serve(CallbackServerContext* context, const Request* request,
                            Response* response,
                            StatusOr<Response> (Scripts::*call)(const Request&)) {
    return Post(context, threads_.checks, response, [this, request, call](const std::stop_token&) {
      return (scripts_.*call)(*request);
    });
  }

  /// Request and response live until the reactor has finished.
  template <typename Response, typename Call>
  ServerUnaryReactor* Post(CallbackServerContext* context, TaskThread& thread, Response* response,
                           Call call) {
    ServerUnaryReactor* reactor = context->DefaultReactor();
    const auto& metadata = context->client_metadata();
    const auto given = metadata.find("authorization");
    if (given == metadata.end() ||
        !ConstantTimeEqual({given->second.data(), given->second.size()}, expected_)) {
      reactor->Finish(
          {grpc::StatusCode::UNAUTHENTICATED,
           "send metadata 'authorization: Bearer <token>' with the token of the file api-token in "
           "the control plane's data folder"});
      return reactor;
    }
    const bool posted = thread.Post([reactor, response, call](const std::stop_token& stop) {
      auto answer = call(stop);
      if (!answer.ok()) return reactor->Finish(ToGrpc(answer.status()));
      *response = *std::move(answer);
      reactor->Finish(grpc::Status::OK);
    });
    if (!posted) {
      reactor->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED,
                       "too many such calls wait; try again in a moment"});
    }
    return reactor;
  }

  Scripts& scripts_;
  ScriptTestRun& tests_;
  ScriptThreads& threads_;
  const std::string expected_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeScriptService(Scripts& scripts, ScriptTestRun& tests,
                                                 ScriptThreads& threads, const std::string& token) {
  return std::make_unique<ScriptService>(scripts, tests, threads, token);
}

}  // namespace millrace::control_plane
