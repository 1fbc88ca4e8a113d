#include "services/control-plane/api.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <utility>

#include "libs/base/hash.h"
#include "services/control-plane/api_answer.h"
#include "services/control-plane/audit.h"
#include "services/control-plane/event_json.h"
#include "services/control-plane/openapi.h"
#include "services/control-plane/secret_mask.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;

constexpr int64_t kAuditScanLimit = 50'000;  // records read one by one
constexpr int kAuditTries = 5;
constexpr int64_t kDefaultLetters = 100;
constexpr int64_t kMaxLetters = 1000;

StatusOr<Json> BodyOf(const http::Request& request) {
  return ParseJson(request.body.view());
}

Json AccountJson(const Account& account) {
  return {{"accepted", account.accepted},     {"produced", account.produced},
          {"delivered", account.delivered},   {"filtered", account.filtered},
          {"dropped", account.dropped},       {"dead_lettered", account.dead_lettered},
          {"duplicates", account.duplicates}, {"pending", account.pending},
          {"residual", account.Residual()}};
}

std::string NameOf(const auto& entities, const std::string& id) {
  for (const auto& entity : entities) {
    if (entity.id() == id) return entity.name();
  }
  return id;
}

/// Whether the answer may have to wait until the log is read: others do not wait for it.
bool WaitsForTheLog(std::string_view path) {
  return path == "/api/v1/audit" || path.rfind("/api/v1/dead-letters", 0) == 0;
}

http::Response Busy() {
  return Refusal(Error(StatusCode::kUnavailable, "busy; try again in a moment"));
}

}  // namespace

void Api::Handle(const http::Request& request, const http::Responder& responder) {
  if (request.path == "/api/v1/openapi.json") {
    return responder.Send({.headers = {{"Content-Type", "application/json"}},
                           .body = std::string(OpenApiDocument())});
  }
  if (request.path == "/api/v1/health") {
    return responder.Send(JsonResponse(200, {{"status", "ok"}}));
  }
  constexpr std::string_view kBearer = "Bearer ";
  const std::string_view authorization = request.Header("authorization");
  if (authorization.substr(0, kBearer.size()) != kBearer ||
      !ConstantTimeEqual(authorization.substr(kBearer.size()), deps_.token)) {
    return responder.Send(Refusal(Error(StatusCode::kUnauthenticated,
                                        "send 'Authorization: Bearer <token>' with the token of "
                                        "the file api-token in the data folder")));
  }
  if (request.path == "/api/v1/tail" && request.method == "GET") {
    const bool taken = tailing_.Post([this, request, responder](const std::stop_token& stop) {
      const Status status = stop.stop_requested()
                                ? MakeStatus(StatusCode::kUnavailable, "stopping")
                                : tails_.Open(responder, QueryValue(request.query, "source"),
                                              QueryValue(request.query, "destination"));
      if (!status.ok()) responder.Send(Refusal(status));
    });
    if (!taken) responder.Send(Busy());
    return;
  }
  if (deps_.script_routes.Handle(request, responder)) return;
  if (!WaitsForTheLog(request.path)) return responder.Send(Answer(request));
  const bool taken = waiting_.Post([this, request, responder](const std::stop_token& stop) {
    responder.Send(stop.stop_requested() ? Busy() : Answer(request));
  });
  if (!taken) responder.Send(Busy());
}

http::Response Api::Answer(const http::Request& request) {
  try {
    const auto answer = Route(request);
    return answer.ok() ? JsonResponse(200, *answer) : Refusal(answer.status());
  } catch (const Json::exception& error) {
    return Refusal(
        Error(StatusCode::kInvalidArgument, "the body is not as expected: {}", error.what()));
  }
}

StatusOr<Json> Api::Route(const http::Request& request) {
  const std::string what = request.method + " " + request.path;
  if (request.method != "GET") MR_RETURN_IF_ERROR(CheckQuery(request.query));
  MR_ASSIGN_OR_RETURN(const bool dry_run, QueryFlag(request.query, "dry_run"));
  MR_ASSIGN_OR_RETURN(const bool prune, QueryFlag(request.query, "prune"));
  MR_ASSIGN_OR_RETURN(const bool give_up_waiting, QueryFlag(request.query, "give_up_waiting"));
  const ApplyOptions options{
      .dry_run = dry_run, .prune = prune, .give_up_waiting = give_up_waiting};
  if (what == "GET /api/v1/workspace") {
    Json document = ToDocument(*deps_.config.Current(), deps_.destinations);
    document["revision"] = deps_.config.Current()->revision();
    return document;
  }
  if (what == "POST /api/v1/apply") {
    MR_ASSIGN_OR_RETURN(const Json body, BodyOf(request));
    return Apply(body, options);
  }
  if (what == "POST /api/v1/import/rudderstack") {
    MR_ASSIGN_OR_RETURN(const Json body, BodyOf(request));
    return Import(body, options);
  }
  if (what == "POST /api/v1/workspace/accept") return AcceptStore();
  if (what == "GET /api/v1/audit") return AuditNow();
  if (what == "GET /api/v1/dead-letters") return ListDeadLetters(request);
  if (what == "POST /api/v1/dead-letters/redrive") {
    MR_ASSIGN_OR_RETURN(const Json body, BodyOf(request));
    return Redrive(body);
  }
  for (const std::string kind : {"sources", "destinations", "connections"}) {
    const std::string base = "/api/v1/" + kind;
    if (request.path == base) return RouteList(request, kind, options);
    if (request.path.rfind(base + "/", 0) == 0) {
      return RouteOne(request, kind, DecodePercent(request.path.substr(base.size() + 1)), options);
    }
  }
  return Error(StatusCode::kNotFound, "there is nothing at {}; see /api/v1/openapi.json", what);
}

StatusOr<Json> Api::RouteList(const http::Request& request, const std::string& kind,
                              const ApplyOptions& options) {
  if (request.method == "GET") return ListOf(kind);
  if (request.method == "POST" || request.method == "PUT") {
    MR_ASSIGN_OR_RETURN(const Json body, BodyOf(request));
    ApplyOptions without_prune = options;
    without_prune.prune = false;
    return Apply({{kind, Json::array({body})}}, without_prune);
  }
  return Error(StatusCode::kUnimplemented, "{} takes GET, POST and PUT", request.path);
}

StatusOr<Json> Api::ListOf(const std::string& kind) {
  const auto workspace = deps_.config.Current();
  Json list = ToDocument(*workspace, deps_.destinations)[kind];
  if (kind == "destinations") MR_RETURN_IF_ERROR(destinations_.AddStatus(*workspace, &list));
  return list;
}

StatusOr<Json> Api::RouteOne(const http::Request& request, const std::string& kind,
                             const std::string& id, const ApplyOptions& options) {
  constexpr std::string_view kGiveUp = "/give-up";
  if (kind == "destinations" && request.method == "POST" && id.ends_with(kGiveUp)) {
    MR_ASSIGN_OR_RETURN(const Json body, BodyOf(request));
    return GiveUp(id.substr(0, id.size() - kGiveUp.size()), body, options.dry_run);
  }
  MR_ASSIGN_OR_RETURN(const Json list, ListOf(kind));
  const auto found =
      std::find_if(list.begin(), list.end(), [&](const Json& one) { return one["id"] == id; });
  if (found == list.end()) {
    if (kind == "destinations" && request.method == "DELETE") {
      auto answer = DeleteLeftOver(id, options);
      if (answer.status().code() != StatusCode::kNotFound) return answer;
    }
    return Error(StatusCode::kNotFound, "{}: there is none with id '{}'", kind, id);
  }
  if (request.method == "GET") return *found;
  if (request.method == "PUT") {
    MR_ASSIGN_OR_RETURN(Json body, BodyOf(request));
    if (!body.is_object())
      return MakeStatus(StatusCode::kInvalidArgument, "the body is not an object");
    body["id"] = id;
    return Apply({{kind, Json::array({body})}}, {.dry_run = options.dry_run});
  }
  if (request.method == "DELETE") {
    ScriptDraft draft(deps_.scripts);
    const auto plan = DeleteEntity(kind, id, &draft.workspace());
    return Settle(plan, &draft, options);
  }
  return Error(StatusCode::kUnimplemented, "{} takes GET, PUT and DELETE", request.path);
}

StatusOr<Json> Api::Apply(const Json& document, const ApplyOptions& options) {
  ScriptDraft draft(deps_.scripts);
  MR_ASSIGN_OR_RETURN(const auto plan,
                      ApplyDocument(document, deps_.destinations, options.prune, &draft));
  return Settle(plan, &draft, options);
}

StatusOr<Json> Api::AcceptStore() {
  Json accepted = Json::array();
  for (const HeldBack& one : deps_.held_back()) {
    const int64_t until_us = std::max(deps_.clock.NowMicros(), one.held.updated_at_us());
    MR_RETURN_IF_ERROR(deps_.store.AcceptInPlaceOf(one.held.store_id(), until_us));
    accepted.push_back({{"service", one.service}, {"revision", one.held.revision()}});
  }
  return Json{{"accepted", accepted}, {"revision", deps_.config.Current()->revision()}};
}

StatusOr<Json> Api::GiveUp(const std::string& id, const Json& body, bool dry_run) {
  ScriptDraft draft(deps_.scripts);
  MR_ASSIGN_OR_RETURN(Json answer, destinations_.GiveUp(id, body, &draft));
  MR_RETURN_IF_ERROR(CheckCode(&draft));
  if (!dry_run) MR_RETURN_IF_ERROR(draft.Commit());
  answer["applied"] = !dry_run;
  answer["revision"] = deps_.config.Current()->revision();
  return answer;
}

Status Api::CheckCode(ScriptDraft* draft) {
  const Status checked = draft->Check();
  return checked.ok() ? checked : SecretMask(draft->workspace()).Apply(checked);
}

StatusOr<Json> Api::PlanJson(const std::vector<PlannedChange>& plan, const ApplyOptions& options) {
  Json changes = Json::array();
  for (const PlannedChange& change : plan) {
    Json one = {{"action", change.action}, {"kind", change.kind}, {"name", change.name}};
    if (!change.id.empty()) one["id"] = change.id;
    changes.push_back(std::move(one));
  }
  MR_RETURN_IF_ERROR(
      destinations_.CheckDeletions(plan, options.dry_run || options.give_up_waiting, &changes));
  return changes;
}

StatusOr<Json> Api::DeleteLeftOver(const std::string& id, const ApplyOptions& options) {
  MR_ASSIGN_OR_RETURN(const auto plan, destinations_.PlanLeftOver(id));
  MR_ASSIGN_OR_RETURN(Json changes, PlanJson(plan, options));
  if (!options.dry_run) MR_RETURN_IF_ERROR(destinations_.DeleteLeftOver(id));
  return Json{{"changes", std::move(changes)},
              {"applied", !options.dry_run},
              {"revision", deps_.config.Current()->revision()}};
}

StatusOr<Json> Api::Settle(const std::vector<PlannedChange>& plan, ScriptDraft* draft,
                           const ApplyOptions& options) {
  MR_RETURN_IF_ERROR(CheckCode(draft));
  MR_ASSIGN_OR_RETURN(Json changes, PlanJson(plan, options));
  if (!options.dry_run) {
    MR_RETURN_IF_ERROR(destinations_.MakeRoom(plan));
    MR_RETURN_IF_ERROR(draft->Commit());
  }
  return Json{{"changes", std::move(changes)},
              {"applied", !options.dry_run},
              {"revision", deps_.config.Current()->revision()}};
}

StatusOr<Json> Api::Import(const Json& workspace_config, const ApplyOptions& options) {
  std::vector<std::string> warnings;
  const ScriptDraft draft(deps_.scripts);
  const auto known = [&draft](const std::string& name) {
    const auto script = draft.Find(config::v1::TRANSFORMATION, name);
    return script.ok() && draft.InForce(config::v1::TRANSFORMATION, script->id()) != nullptr;
  };
  MR_ASSIGN_OR_RETURN(
      const Json document,
      DocumentFromRudderStack(workspace_config, deps_.destinations, known, &warnings));
  MR_ASSIGN_OR_RETURN(Json answer, Apply(document, options));
  answer["warnings"] = warnings;
  return answer;
}

StatusOr<Json> Api::AuditNow() {
  Audit audit;
  bool moving = false;
  MR_ASSIGN_OR_RETURN(const auto usage, deps_.log.Usage());
  const bool dense = usage.quota_bytes > 0;  // a log of our own: no transaction marks among records
  // Under load the log moves between the looks; a few tries find a moment at which they agree.
  for (int attempt = 0; attempt < kAuditTries; ++attempt) {
    MR_ASSIGN_OR_RETURN(const auto before, ReadPositions(deps_.log));
    const bool caught_up = deps_.reader.CatchUp(std::chrono::milliseconds(2000));
    MR_ASSIGN_OR_RETURN(const auto counts, deps_.store.Counts());
    MR_ASSIGN_OR_RETURN(const auto positions, ReadPositions(deps_.log));
    MR_ASSIGN_OR_RETURN(audit,
                        CompareWithLog(deps_.log, positions, counts, kAuditScanLimit, dense));
    moving = !caught_up || positions != before;
    if (caught_up && audit.Residual() == 0) break;
  }
  const auto workspace = deps_.config.Current();
  Account total;
  Json sources = Json::array(), connections = Json::array();
  for (const auto& [id, account] : audit.sources) {
    Json one = AccountJson(account);
    one["source"] = NameOf(workspace->sources(), id);
    one["passed_on"] = account.passed_on;
    one.erase("delivered");
    sources.push_back(std::move(one));
    total.accepted += account.accepted;
    total.duplicates += account.duplicates;
    total.pending += account.pending;
    total.dead_lettered += account.dead_lettered;
    total.filtered += account.filtered;
    total.dropped += account.dropped;
    total.produced += account.produced;
  }
  for (const auto& [ids, account] : audit.connections) {
    Json one = AccountJson(account);
    one["source"] = NameOf(workspace->sources(), ids.first);
    one["destination"] = NameOf(workspace->destinations(), ids.second);
    connections.push_back(std::move(one));
    total.pending += account.pending;
    total.delivered += account.delivered;
    total.dead_lettered += account.dead_lettered;
    total.filtered += account.filtered;
    total.dropped += account.dropped;
    total.produced += account.produced;
  }
  total.accepted += audit.ingest_unlisted;
  total.pending += audit.ingest_unlisted;
  Json missing = Json::object();
  for (const auto& [id, events] : audit.missing) {
    missing[NameOf(workspace->destinations(), id)] = events;
  }
  return Json{{"accepted", total.accepted},
              {"produced", total.produced},
              {"duplicates", total.duplicates},
              {"delivered", total.delivered},
              {"filtered", total.filtered},
              {"dropped", total.dropped},
              {"dead_lettered", total.dead_lettered},
              {"pending", total.pending},
              {"ingest_records", audit.ingest_records},
              {"residual", audit.Residual()},
              {"moving", moving},
              {"missing", missing},
              {"lost_records", audit.lost_records},
              {"sources", sources},
              {"connections", connections}};
}

StatusOr<Json> Api::ListDeadLetters(const http::Request& request) {
  const std::string id = QueryValue(request.query, "id");
  MR_ASSIGN_OR_RETURN(const std::string destination,
                      DestinationId(QueryValue(request.query, "destination")));
  int64_t limit = kDefaultLetters;
  if (const std::string text = QueryValue(request.query, "limit"); !text.empty()) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
    if (error != std::errc() || end != text.data() + text.size() || limit < 1 ||
        limit > kMaxLetters) {
      return Error(StatusCode::kInvalidArgument, "limit is '{}'; use 1 to {}", text, kMaxLetters);
    }
  }
  return letters_.List(
      destination, id.empty() ? std::vector<std::string>() : std::vector<std::string>{id}, limit);
}

StatusOr<Json> Api::Redrive(const Json& body) {
  std::vector<std::string> ids;
  std::string destination;
  bool all = false;
  if (!body.is_object())
    return MakeStatus(StatusCode::kInvalidArgument, "the body is not an object");
  for (const auto& [key, value] : body.items()) {
    if (key == "ids" && value.is_array()) {
      for (const Json& id : value) {
        if (!id.is_string()) return MakeStatus(StatusCode::kInvalidArgument, "ids: must be texts");
        ids.push_back(id.get<std::string>());
      }
    } else if (key == "destination" && value.is_string()) {
      destination = value.get<std::string>();
    } else if (key == "all" && value.is_boolean()) {
      all = value.get<bool>();
    } else {
      return Error(StatusCode::kInvalidArgument,
                   "'{}': give ids (a list of texts), destination (a text) or all (true)", key);
    }
  }
  if (ids.empty() && destination.empty() && !all) {
    return Error(StatusCode::kInvalidArgument, "say which: ids, destination, or all: true");
  }
  MR_ASSIGN_OR_RETURN(const std::string destination_id, DestinationId(destination));
  MR_ASSIGN_OR_RETURN(const RedriveResult result,
                      letters_.Redrive(*deps_.config.Current(), destination_id, ids));
  Json answer = {{"redriven", result.redriven}, {"skipped", result.skipped}, {"more", result.more}};
  if (result.skipped > 0) answer["skipped_reason"] = result.skipped_reason;
  return answer;
}

StatusOr<std::string> Api::DestinationId(const std::string& id_or_name) {
  if (id_or_name.empty()) return std::string();
  const auto workspace = deps_.config.Current();
  for (const auto& destination : workspace->destinations()) {
    if (destination.id() == id_or_name) return destination.id();
  }
  for (const auto& destination : workspace->destinations()) {
    if (destination.name() == id_or_name) return destination.id();
  }
  return Error(StatusCode::kNotFound, "there is no destination '{}'", id_or_name);
}

}  // namespace millrace::control_plane
