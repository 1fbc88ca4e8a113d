#include "services/control-plane/script_routes.h"

#include <nlohmann/json.hpp>

#include "services/control-plane/api_answer.h"
#include "services/control-plane/event_json.h"
#include "services/control-plane/message_json.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;
using config::v1::LIBRARY;
using config::v1::ScriptType;
using config::v1::TRANSFORMATION;

constexpr std::string_view kBase = "/api/v1/";

Status NotTaken(const http::Request& request, std::string_view methods) {
  return Error(StatusCode::kUnimplemented, "{} takes {}", request.path, methods);
}

/// An empty body is an empty object.
template <typename Message>
StatusOr<Message> BodyAs(const http::Request& request) {
  Message message;
  if (request.body.empty()) return message;
  MR_ASSIGN_OR_RETURN(const Json body, ParseJson(request.body.view()));
  MR_RETURN_IF_ERROR(JsonToMessage(body, "", &message));
  return message;
}

template <typename Message>
StatusOr<Json> ToJson(const StatusOr<Message>& answer) {
  if (!answer.ok()) return answer.status();
  return MessageToJson(*answer);
}

template <typename Key>
Key KeyOf(ScriptType type, const std::string& id) {
  Key key;
  key.set_type(type);
  key.set_id(id);
  return key;
}

}  // namespace

bool ScriptRoutes::Handle(const http::Request& request, const http::Responder& responder) {
  if (request.path.rfind(kBase, 0) != 0) return false;
  Path path;
  for (size_t begin = kBase.size(); begin <= request.path.size();) {
    const size_t end = std::min(request.path.find('/', begin), request.path.size());
    path.push_back(DecodePercent(request.path.substr(begin, end - begin)));
    begin = end + 1;
  }
  if (path[0] != "transformations" && path[0] != "libraries" && path[0] != "credentials")
    return false;
  const auto answer = [this, request, responder, path](const std::stop_token& stop) {
    responder.Send([&] {
      try {
        const auto json = Route(request, path, stop);
        return json.ok() ? JsonResponse(200, *json) : Refusal(json.status());
      } catch (const Json::exception& error) {
        return Refusal(
            Error(StatusCode::kInvalidArgument, "the body is not as expected: {}", error.what()));
      }
    }());
  };
  if (request.method == "GET") {
    answer({});
    return true;
  }
  TaskThread& thread = path.back() == "test" && path.size() > 1 ? threads_.tests : threads_.checks;
  if (!thread.Post(answer)) {
    responder.Send(Refusal(MakeStatus(StatusCode::kResourceExhausted,
                                      "too many such calls wait; try again in a moment")));
  }
  return true;
}

StatusOr<Json> ScriptRoutes::Route(const http::Request& request, const Path& path,
                                   const std::stop_token& stop) {
  if (request.method != "GET") MR_RETURN_IF_ERROR(CheckQuery(request.query));
  if (path[0] == "credentials") return RouteCredentials(request, path);
  const ScriptType type = path[0] == "libraries" ? LIBRARY : TRANSFORMATION;
  if (path.size() == 1) return RouteAll(request, type);
  if (path.size() == 2 && request.method == "POST" && type == TRANSFORMATION) {
    if (path[1] == "publish") return PublishMany(request);
    if (path[1] == "test") return Test(request, "", stop);
  }
  if (path.size() == 2) return RouteOne(request, type, path[1]);
  return RoutePart(request, type, path, stop);
}

StatusOr<Json> ScriptRoutes::RouteCredentials(const http::Request& request, const Path& path) {
  if (path.size() == 1) {
    if (request.method != "GET") return NotTaken(request, "GET");
    MR_ASSIGN_OR_RETURN(const Json answer, ToJson(scripts_.ListCredentials({})));
    return answer["credentials"];
  }
  if (path.size() == 2 && request.method == "PUT") {
    MR_ASSIGN_OR_RETURN(auto body, BodyAs<config::v1::SetCredentialRequest>(request));
    body.set_key(path[1]);
    return ToJson(scripts_.SetCredential(body));
  }
  if (path.size() == 2 && request.method == "DELETE") {
    config::v1::CredentialKey key;
    key.set_key(path[1]);
    return ToJson(scripts_.DeleteCredential(key));
  }
  return NotTaken(request, "PUT and DELETE");
}

StatusOr<Json> ScriptRoutes::RouteAll(const http::Request& request, ScriptType type) {
  if (request.method == "GET") {
    config::v1::ListScriptsRequest list;
    list.set_type(type);
    MR_ASSIGN_OR_RETURN(const Json answer, ToJson(scripts_.List(list)));
    return answer["scripts"];
  }
  if (request.method != "POST") return NotTaken(request, "GET and POST");
  MR_ASSIGN_OR_RETURN(auto body, BodyAs<config::v1::SaveScriptRequest>(request));
  body.set_type(type);
  MR_ASSIGN_OR_RETURN(const bool publish, QueryFlag(request.query, "publish"));
  if (publish) body.set_publish(true);
  return ToJson(scripts_.Create(body));
}

StatusOr<Json> ScriptRoutes::RouteOne(const http::Request& request, ScriptType type,
                                      const std::string& id) {
  if (request.method == "GET") return ToJson(scripts_.Get(KeyOf<config::v1::ScriptKey>(type, id)));
  if (request.method == "DELETE")
    return ToJson(scripts_.Delete(KeyOf<config::v1::ScriptKey>(type, id)));
  if (request.method != "PUT") return NotTaken(request, "GET, PUT and DELETE");
  MR_ASSIGN_OR_RETURN(auto body, BodyAs<config::v1::SaveScriptRequest>(request));
  body.set_type(type);
  body.set_id(id);
  MR_ASSIGN_OR_RETURN(const bool publish, QueryFlag(request.query, "publish"));
  if (publish) body.set_publish(true);
  return ToJson(scripts_.Update(body));
}

StatusOr<Json> ScriptRoutes::RoutePart(const http::Request& request, ScriptType type,
                                       const Path& path, const std::stop_token& stop) {
  const std::string& id = path[1];
  const std::string& part = path[2];
  const bool of_both = part == "versions" || part == "publish" || part == "rollback";
  const bool of_transformations = part == "shadow" || part == "report" || part == "test";
  if ((!of_both && (!of_transformations || type == LIBRARY)) ||
      path.size() > (part == "versions" ? 4 : 3)) {
    return Error(StatusCode::kNotFound, "there is nothing at {}; see /api/v1/openapi.json",
                 request.path);
  }
  if (part == "shadow") return Shadow(request, id);
  const std::string_view method = part == "versions" || part == "report" ? "GET" : "POST";
  if (request.method != method) return NotTaken(request, method);
  if (part == "publish") return Publish(request, type, id);
  if (part == "rollback") {
    MR_ASSIGN_OR_RETURN(auto body, BodyAs<config::v1::RollbackRequest>(request));
    body.set_type(type);
    body.set_id(id);
    return ToJson(scripts_.Rollback(body));
  }
  if (part == "report") return ToJson(scripts_.GetReport(KeyOf<config::v1::ScriptKey>(type, id)));
  if (part == "test") return Test(request, id, stop);
  if (path.size() == 4) {
    auto key = KeyOf<config::v1::ScriptVersionKey>(type, id);
    key.set_version(path[3]);
    if (path[3].empty())
      return MakeStatus(StatusCode::kNotFound, "name a version by its number or id");
    return ToJson(scripts_.GetVersion(key));
  }
  MR_ASSIGN_OR_RETURN(const Json answer,
                      ToJson(scripts_.ListVersions(KeyOf<config::v1::ScriptKey>(type, id))));
  return answer["versions"];
}

StatusOr<Json> ScriptRoutes::Publish(const http::Request& request, ScriptType type,
                                     const std::string& id) {
  config::v1::PublishRequest publish;
  auto* key = publish.add_scripts();
  if (!request.body.empty()) {
    MR_ASSIGN_OR_RETURN(Json body, ParseJson(request.body.view()));
    if (body.is_object() && body.contains("expectedRevision")) {
      MR_RETURN_IF_ERROR(
          JsonToMessage({{"expectedRevision", body["expectedRevision"]}}, "", &publish));
      body.erase("expectedRevision");
    }
    if (body.is_object() && body.contains("versionId")) {
      body["version"] = body["versionId"];
      body.erase("versionId");
    }
    MR_RETURN_IF_ERROR(JsonToMessage(body, "", key));
  }
  key->set_type(type);
  key->set_id(id);
  return ToJson(scripts_.Publish(publish));
}

StatusOr<Json> ScriptRoutes::PublishMany(const http::Request& request) {
  MR_ASSIGN_OR_RETURN(const Json body, ParseJson(request.body.view()));
  if (!body.is_object())
    return MakeStatus(StatusCode::kInvalidArgument, "the body: must be an object");
  config::v1::PublishRequest publish;
  for (const auto& [key, value] : body.items()) {
    if (key == "expectedRevision") {
      MR_RETURN_IF_ERROR(JsonToMessage({{key, value}}, "", &publish));
      continue;
    }
    if ((key != "transformations" && key != "libraries") || !value.is_array()) {
      return Error(
          StatusCode::kInvalidArgument,
          "'{}': give transformations and libraries, each a list of names or of {{id, version}}",
          key);
    }
    for (size_t i = 0; i < value.size(); ++i) {
      auto* one = publish.add_scripts();
      const Json entry = value[i].is_string() ? Json{{"id", value[i]}} : value[i];
      MR_RETURN_IF_ERROR(JsonToMessage(entry, fmt::format("{}[{}]", key, i), one));
      one->set_type(key == "libraries" ? LIBRARY : TRANSFORMATION);
    }
  }
  return ToJson(scripts_.Publish(publish));
}

StatusOr<Json> ScriptRoutes::Shadow(const http::Request& request, const std::string& id) {
  if (request.method == "DELETE") {
    return ToJson(scripts_.ClearShadow(KeyOf<config::v1::ScriptKey>(TRANSFORMATION, id)));
  }
  if (request.method != "POST") return NotTaken(request, "POST and DELETE");
  MR_ASSIGN_OR_RETURN(auto body, BodyAs<config::v1::SetShadowRequest>(request));
  body.set_id(id);
  return ToJson(scripts_.SetShadow(body));
}

StatusOr<Json> ScriptRoutes::Test(const http::Request& request, const std::string& id,
                                  const std::stop_token& stop) {
  MR_ASSIGN_OR_RETURN(auto body, BodyAs<config::v1::TestRequest>(request));
  body.set_id(id);
  return ToJson(tests_.Run(body, stop));
}

}  // namespace millrace::control_plane
